"""The tokenizer of the sandbox models: byte-level BPE with single digits.

    python tools/pretrain/tokenizer.py src/apportion/sandbox/assets/small

Byte-level, so any text round-trips and there is no unknown token; every digit is a token of its
own, since small models compute on digits; an operator between numbers is one token with its spaces.
"""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path

from corpus import documents
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from apportion.sandbox.math import demonstrations

SEED = 20_260_001
DOCUMENTS = 40_000
VOCABULARY = 1024
EOS, PAD = "<eos>", "<pad>"
CONTEXT = 512

# In order: a digit; an operator between numbers, with its spaces; a word with the space before it;
# other signs with the space before them; a line break; what white space remains.
PIECES = r"\d| [+\-*/=] (?=\d)| ?\p{L}+| ?[^\s\p{L}\d]+|\n|[^\S\n]+(?!\S)|\s"


def train() -> PreTrainedTokenizerFast:
    """Train on the corpus, with a few demonstrations so that `####` becomes one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    texts = list(islice(documents(SEED, edition=1), DOCUMENTS))
    texts += [f"{d.prompt} {d.response}" for d in demonstrations(2000, seed=SEED)]
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            min_frequency=2,
            special_tokens=[PAD, EOS],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=CONTEXT,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def main(folder: Path) -> None:
    """Train, and save into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    train().save_pretrained(folder)
    # The name that versions of transformers before 5 know too; 5 reads it as its own class.
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    settings.pop("backend", None)
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(settings, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
