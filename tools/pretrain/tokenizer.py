"""The tokenizer of the sandbox models: whole words of the worlds, bytes for everything else.

    python tools/pretrain/tokenizer.py <folder>

A small world has a closed vocabulary, so nearly every word that it uses is one token, with the
space before it; what is not in the vocabulary is spelt in byte-level pieces (any text round-trips,
there is no unknown token). Every digit is a token of its own, since small models compute on digits;
an operator between numbers is one token with its spaces. The whole words need no chain of merges:
the model is told to look a word up before it merges (`ignore_merges`, as Llama 3 does).
"""

from __future__ import annotations

import importlib
import json
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

from corpus import SHARES, held_out
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SEED = 20_260_001
DOCUMENTS = 6_000  # of each world
DEMONSTRATIONS = 1_000  # of each task, so that its marks are tokens; no prompt of a test side
VOCABULARY = 1_200
PIECES_OF_WORDS = 384  # bytes and their merges, for what is not in the vocabulary
SELDOM = 12  # a word met less often than this is spelt
EOS, PAD = "<eos>", "<pad>"
CONTEXT = 512

# In order: a digit; an operator between numbers, with its spaces; a word with the space before it;
# other signs with the space before them; a line break; what white space remains.
PIECES = r"\d| [+\-*/=] (?=\d)| ?\p{L}+| ?[^\s\p{L}\d]+|\n|[^\S\n]+(?!\S)|\s"


def texts() -> list[str]:
    """What the vocabulary is made from: documents of each world, demonstrations of each task."""
    found = []
    for world in SHARES:
        found += islice(held_out(world), DOCUMENTS)
        made = importlib.import_module(f"apportion.sandbox.{world}").demonstrations
        found += [f"{d.prompt} {d.response}" for d in made(DEMONSTRATIONS, seed=SEED)]
    return found


def train() -> PreTrainedTokenizerFast:
    """The tokenizer, from `texts`."""
    split = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    spelt = Tokenizer(models.BPE())
    spelt.pre_tokenizer = split
    told = texts()
    spelt.train_from_iterator(
        told,
        trainers.BpeTrainer(
            vocab_size=PIECES_OF_WORDS,
            min_frequency=2,
            special_tokens=[PAD, EOS],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    learnt = json.loads(spelt.to_str())["model"]
    vocabulary: dict[str, int] = learnt["vocab"]
    often = Counter(piece for text in told for piece, _ in split.pre_tokenize_str(text))
    for piece, times in sorted(often.items(), key=lambda row: (-row[1], row[0])):
        if times >= SELDOM and len(vocabulary) < VOCABULARY:
            vocabulary.setdefault(piece, len(vocabulary))
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary, merges=[tuple(pair) for pair in learnt["merges"]], ignore_merges=True
        )
    )
    tokenizer.pre_tokenizer, tokenizer.decoder = split, decoders.ByteLevel()
    tokenizer.add_special_tokens([PAD, EOS])
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
