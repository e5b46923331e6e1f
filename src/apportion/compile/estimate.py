"""How many tokens a stage will process: estimates for time and money, never part of a key.

| stage | tokens |
|---|---|
| sft | tokens of prompts and responses × epochs |
| preference | tokens of both sequences of each pair, of the one of each label, × epochs |
| generate | tokens of the prompts + test items × the length of a typical response |
| score | 0 |

Neither the reference's pass nor KTO's mismatched responses are counted.

Tokens are characters divided by characters per token: measured on a few examples with a local
model's `tokenizer.json`, else three.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from apportion.models.resolve import ModelRef

CHARACTERS_PER_TOKEN = 3.0
SAMPLE = 16  # examples that are tokenised


def characters_per_token(ref: ModelRef, texts: Sequence[str]) -> float:
    """Mean characters per token of `texts` for a local or embedded model; else the usual three."""
    file = Path(ref.path) / "tokenizer.json"
    if ref.kind == "hub" or not file.is_file():
        return CHARACTERS_PER_TOKEN
    return _measured(str(file), tuple(texts[:SAMPLE]))


@lru_cache(maxsize=64)
def _measured(file: str, texts: tuple[str, ...]) -> float:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(file)
    except (
        Exception
    ):  # the library raises bare Exceptions; loading the model will say what is wrong
        return CHARACTERS_PER_TOKEN
    characters = sum(len(text) for text in texts)
    tokens = sum(len(tokenizer.encode(text).ids) for text in texts)
    return characters / tokens if characters and tokens else CHARACTERS_PER_TOKEN
