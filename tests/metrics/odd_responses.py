"""Responses as models write them, and odd ones: for comparing what two programs read in them."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence

FORMS = (
    "{steps}\n#### {n}",
    "{steps}\n#### {n}.",
    "{steps}\n#### ${n}",
    "{steps}\n#### {n} dollars",
    "{steps}\n#### {n}\n\nQuestion 2: 7 apples cost 21 dollars",
    "{steps}\n####{n}",
    "{steps}\n### {n}",
    "{steps}\n##### {n}",
    "{steps}\n#### -{n}",
    "{steps}\n#### {n}%",
    "{steps}\n#### {comma}",
    "{steps}\n#### {comma}.00",
    "{steps}\n####  {n}",
    "{steps}\n####\t{n}",
    "{steps}\n####\n{n}",
    "{steps} #### {other}\n#### {n}",
    "{steps} #### {n}\n#### {other}",
    "The answer is {n}.",
    "The answer is ${comma}.",
    "The answer is \\boxed{{{n}}}",
    "The answer is **{n}**, not {other}.",
    "{n}",
    " {n} ",
    "-{n}",
    "--{n}",
    "{n}-{other}",
    "${n}",
    "$ {n}",
    "{n}.",
    "{n}..",
    "{n},",
    "{n} , . $",
    "€{n}",
    "{n}%",
    "{n}.0",
    "{n}.50",
    ".{n}",
    "0{n}",
    "{n}e3",
    "1/{n}",
    "{n}:30",
    "{words}",
    "",
    " ",
    "\n\n",
    "####",
    "#### ",
    "#### .",
    "#### ,",
    "#### -",
    "#### $",
    "#### abc {n}",
    "no number at all",
    "... and so on ...",
    "$",
    "-",
    ",",
    ".",
    "{arabic}",
    "{full}",
    "{n}²",
    "½ of {n}",
    "#### {n}\r\n",
    "\u00a0#### {n}",
    "#### {n}\u200b",
    "#### {n} #### ",
    "[invalid]",
    "[INVALID] {n}",
)


def responses(references: Sequence[str], *, seed: int = 0) -> Iterator[tuple[str, str]]:
    """(response, reference): each form with the right number and with others, for each reference
    of up to 200, so that there are thousands; then random strings of the letters that matter."""
    stream = random.Random(seed)
    for index in range(max(40, min(200, len(references)))):
        reference = references[index % len(references)]
        right = re.sub(r"[^\d]", "", reference.rpartition("####")[2]) or "7"
        for form in stream.sample(FORMS, 20) if index >= 10 else FORMS:
            n = right if stream.random() < 0.6 else str(stream.randrange(10_000))
            yield (
                form.format(
                    n=n,
                    comma=f"{int(n):,}",
                    other=stream.randrange(1000),
                    steps=f"{stream.randrange(99)} + {stream.randrange(99)} = {n}",
                    words="twenty-four",
                    arabic=n.translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")),
                    full=n.translate(str.maketrans("0123456789", "０１２３４５６７８９")),
                ),
                reference,
            )
        yield reference, reference
    for _ in range(3000):
        letters = stream.choices("#### 0123456789.,$-\n ab", k=stream.randrange(18))
        yield "".join(letters), stream.choice(references)
