from __future__ import annotations

from independent import Example

from apportion.data.records import Demonstration, Pair
from apportion.models.policy import load_base, prepare_for_training
from apportion.models.resolve import resolve_model
from apportion.models.template import load_tokenizer, make_template

DEMONSTRATIONS = tuple(
    Demonstration(prompt, response)
    for prompt, response in [
        ("One and one?", "Two."),
        ("How many legs has a spider got, all told?", "8"),
        ("Hi", "A response that is quite a bit longer than its prompt."),
        ("", ""),  # dropped: nothing predicts its first token
        ("Name a colour:", "red, or blue\nor green"),
        ("x", "y"),
        ("What is it?", ""),
        ("Seven times six is", "forty-two, #### 42"),
    ]
)
PAIRS = tuple(
    Pair(d.prompt, d.response + " yes", ("no " * (1 + i % 3)) + d.response[:9])
    for i, d in enumerate(DEMONSTRATIONS)
)


class Tiny:
    """A tiny model, and its examples as ids for the independent implementation."""

    max_length = 64

    def __init__(self, folder):
        self.ref = resolve_model(str(folder))
        self.tokenizer = load_tokenizer(self.ref)
        self.template = make_template(self.ref, self.tokenizer)
        self.demonstrations = DEMONSTRATIONS
        self.pairs = PAIRS
        self.kept = [d for d in DEMONSTRATIONS if d.prompt]
        self.kept_pairs = [p for p in PAIRS if p.prompt]

    def model(self, lora=None, *, seed=0):
        return prepare_for_training(load_base(self.ref, dtype="float32"), lora, seed=seed)

    def example(self, prompt, response):
        ids = self.tokenizer.encode(prompt, add_special_tokens=False)
        told = self.tokenizer.encode(" " + response, add_special_tokens=False)
        told.append(self.tokenizer.eos_token_id)
        return Example(ids, told[: self.max_length - len(ids)])

    @property
    def examples(self):
        return [self.example(d.prompt, d.response) for d in self.kept]

    @property
    def example_pairs(self):
        return [
            (self.example(p.prompt, p.chosen), self.example(p.prompt, p.rejected))
            for p in self.kept_pairs
        ]

    @property
    def how(self):
        return (self.tokenizer, self.template)
