"""Wrong data files, task cards and model folders, each with what must be said of it.

A case is a right study with one file replaced. `GOOD` are the files of the right study.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Content = str | bytes | None | Callable[[Path], None]


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


SFT = [{"prompt": f"What is {n} + 1?", "response": str(n + 1)} for n in range(4)]
PAIRS = [
    {"prompt": f"What is {n} + 2?", "chosen": str(n + 2), "rejected": str(n)} for n in range(3)
]
TEST = [{"prompt": f"What is {n} + 3?", "reference": str(n + 3)} for n in range(2)]

GOOD: Mapping[str, str] = {
    "study.yaml": (
        "models: [sandbox:small]\n"
        "tasks: [card.yaml]\n"
        "methods: [dpo]\n"
        "lattice: {n_sft: [0, 2], n_pref: [0, 2]}\n"
        "replicates: 1\n"
        "recipe: sandbox\n"
        "evaluation: {n_items: 2}\n"
    ),
    "card.yaml": (
        "name: sums\n"
        "sft: sft.jsonl\n"
        "preference: pairs.jsonl\n"
        "test: test.jsonl\n"
        "metric: exact\n"
        "max_new_tokens: 8\n"
    ),
    "sft.jsonl": lines(*SFT),
    "pairs.jsonl": lines(*PAIRS),
    "test.jsonl": lines(*TEST),
}


@dataclass(frozen=True)
class Bad:
    """`files` replace those of GOOD (None removes one). The message must name `file` and `row`,
    and hold the fragments `problem` and `mend`."""

    name: str
    files: Mapping[str, Content]
    file: str
    row: int | None
    problem: str
    mend: str


def bad(name: str, file: str, content: Content, row: int | None, problem: str, mend: str) -> Bad:
    """One file of GOOD with another content."""
    return Bad(name, {file: content}, file, row, problem, mend)


def sft(name: str, content: Content, row: int | None, problem: str, mend: str) -> Bad:
    return bad(name, "sft.jsonl", content, row, problem, mend)


def as_file(
    name: str, other: str, content: Content, row: int | None, problem: str, mend: str
) -> Bad:
    """The SFT data in a file of another kind."""
    card = GOOD["card.yaml"].replace("sft.jsonl", other)
    return Bad(name, {"card.yaml": card, other: content}, other, row, problem, mend)


def card(name: str, row: int | None, problem: str, mend: str, /, **changes: str | None) -> Bad:
    """Rows of the card replaced (None: removed) or added at its end."""
    keys = dict(line.split(": ", 1) for line in GOOD["card.yaml"].splitlines())
    keys |= changes
    text = "".join(f"{key}: {value}\n" for key, value in keys.items() if value is not None)
    return bad(name, "card.yaml", text, row, problem, mend)


def changed(rows: list[Any], at: int, **values: Any) -> str:
    """The rows as JSON lines, with values of one (0-based) changed; `...` removes a key."""
    new = {**rows[at], **values}
    new = {key: value for key, value in new.items() if value is not ...}
    return lines(*rows[:at], new, *rows[at + 1 :])


def bomb(path: Path) -> None:
    """40 MB of small rows in about 80 kB."""
    row = b'{"prompt": "p", "response": "r"}\n'
    with gzip.open(path, "wb", compresslevel=6) as stream:
        for _ in range(40):
            stream.write(row * (1_000_000 // len(row)))


def directory(path: Path) -> None:
    path.mkdir()


def parquet(**columns: list[Any]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import pyarrow
        from pyarrow import parquet as writer

        writer.write_table(pyarrow.table(columns), path)

    return write


TURN = {"role": "user", "content": "Hi"}
REPLY = {"role": "assistant", "content": "Hello"}
TEXT = lines(*SFT)

FILES = [
    sft("no such file", None, None, "no such file", "relative to the card"),
    sft("a directory", directory, None, "is a directory", "name the file"),
    sft("empty", "", None, "is empty", "one example in each row"),
    sft("only blank lines", "\n\n \n", None, "no rows", "one example in each row"),
    sft("half a row", TEXT + '{"prompt": "What is', 5, "ends in the middle", "complete or remove"),
    sft("half an object", TEXT + '{"prompt": "a"', 5, "ends in the middle", "complete or remove"),
    sft("not JSON", lines(SFT[0]) + "prompt: a\n", 2, "not JSON", "correct the row"),
    sft("single quotes", "{'prompt': 'a', 'response': 'b'}\n", 1, "not JSON", "correct the row"),
    sft("two objects in a row", lines(SFT[0]).strip() * 2 + "\n", 1, "not JSON", "correct the row"),
    sft("a row that is a list", TEXT + '["a", "b"]\n', 5, "is a list, not an object", "prompt"),
    sft("a row that is a number", TEXT + "17\n", 5, "is a number, not an object", "prompt"),
    sft("a key twice", '{"prompt": "a", "prompt": "b", "response": "c"}\n', 1, "given twice",
        "correct"),
    sft("NaN", '{"prompt": "a", "response": NaN}\n', 1, "NaN is not a JSON value", "correct"),
    sft("nested too deeply", '{"prompt": ' + "[" * 100_000 + "\n", 1, "nested too deeply",
        "correct"),
    sft("a JSON list in rows", json.dumps(SFT, indent=1), 1, "one JSON list",
        "name the file .json"),
    sft("binary", b"PK\x03\x04\0\0\0\0", 1, "binary", "name a text"),
    sft("binary in a later row", TEXT.encode() + b"\0\0\n", 5, "binary", "name a text"),
    sft("latin-1", TEXT.encode() + '{"prompt": "Grüße"}\n'.encode("latin-1"), 5, "not UTF-8",
        "save it as UTF-8"),
    sft("utf-16", TEXT.encode("utf-16"), 1, "UTF-16", "save it as UTF-8"),
    sft("half a character", '{"prompt": "a\\ud800", "response": "b"}\n', 1, "half a character",
        "escapes"),
    sft("more than 10 MB in a row", lines(SFT[0], {"prompt": "x" * 10_000_100, "response": "r"}),
        2, "longer than 10 MB", "one object per line"),
    sft("a gzip header and no gzip", b"\x1f\x8b" + b"x" * 50, None, "damaged", "copy it again"),
    as_file("a gzip bomb", "sft.jsonl.gz", bomb, None, "unpacks to more than", "if you trust it"),
    as_file("half a gzip file", "sft.jsonl.gz", gzip.compress(TEXT.encode())[:-12], None,
            "damaged", "copy it again"),
    as_file("unknown kind", "sft.xlsx", "x", None, "not known", ".parquet"),
    as_file("JSON that is an object", "sft.json", '{"rows": []}', None, "an object, not a list",
            "name the file .jsonl"),
    as_file("JSON with a row of text", "sft.json", json.dumps([*SFT, "x"]), 5, "is a text",
            "prompt"),
    as_file("half a JSON file", "sft.json", json.dumps(SFT, indent=1)[:-5], 16,
            "ends in the middle", "complete"),
    as_file("a table with a short row", "sft.csv", "prompt,response\na,b\nc\n", 3, "has 1 fields",
            "double quotes"),
    as_file("a table with a comma too many", "sft.csv", "prompt,response\na,b,c\n", 2,
            "has 3 fields", "double quotes"),
    as_file("a table with an open quote", "sft.csv", 'prompt,response\na,"b\nc,d\n', 2,
            "not a table", "quotes"),
    as_file("a column twice", "sft.csv", "prompt,prompt\na,b\n", 1, "named twice", "rename"),
    as_file("a table with a header only", "sft.tsv", "prompt\tresponse\n", None, "no rows",
            "one example"),
    as_file("a table's empty prompt", "sft.csv", 'prompt,response\na,b\n"x\ny",c\n,d\n', 5,
            "prompt is empty", "remove the row"),
    as_file("Parquet that is none", "sft.parquet", b"PAR1 and nothing", None,
            "not a Parquet file", "check it"),
    as_file("Parquet with an empty prompt", "sft.parquet",
            parquet(prompt=["a", None], response=["b", "c"]), 2, "prompt", "text"),
]  # fmt: skip

ROWS = [
    sft("missing column", changed(SFT, 1, response=...), 2, "no column 'response'", "columns:"),
    sft("wrong names", lines({"question": "a", "answer": "b"}), 1, "no column 'prompt'",
        "question, answer"),
    sft("empty prompt", changed(SFT, 2, prompt=""), 3, "prompt is empty", "remove the row"),
    sft("blank response", changed(SFT, 3, response=" \n"), 4, "response is empty", "fill it in"),
    sft("prompt is null", changed(SFT, 0, prompt=None), 1, "prompt is nothing, not a text",
        "in quotes"),
    sft("mixed types", changed(SFT, 1, response=2), 2, "response is 2, not a text", "in quotes"),
    sft("nested where flat is expected", changed(SFT, 1, prompt={"text": "a"}), 2, "nested",
        "write a text"),
    sft("several wrong rows", lines(SFT[0], *({"prompt": "", "response": "r"},) * 3), 2,
        "2 other rows are wrong too", "remove"),
    sft("a text without a prompt", lines({"text": "Once upon a time"}), 1, "without a prompt",
        "prompt and response"),
    sft("no turns", lines({"messages": []}), 1, "not a list of turns", "role"),
    sft("turns as a text", lines({"messages": "Hi"}), 1, "not a list of turns", "role"),
    sft("a turn without content", lines({"messages": [{"role": "user"}]}), 1, "messages[0]",
        "content"),
    sft("an unknown role", lines({"messages": [{"role": "human", "content": "a"}, REPLY]}), 1,
        "'human'", "tools"),
    sft("a conversation without a reply", lines({"messages": [TURN]}), 1,
        "not the assistant's", "end the conversation"),
    sft("a reply to nobody", lines({"messages": [REPLY]}), 1, "not the user's", "end the prompt"),
    sft("a late system turn",
        lines({"messages": [TURN, {"role": "system", "content": "x"}, TURN, REPLY]}), 1,
        "not the first", "move it"),
    bad("chosen equals rejected", "pairs.jsonl", changed(PAIRS, 1, rejected="3"), 2,
        "chosen equals rejected", "two different"),
    bad("no rejected", "pairs.jsonl", changed(PAIRS, 2, rejected=...), 3, "no column 'rejected'",
        "columns:"),
    bad("no common beginning", "pairs.jsonl", lines({"chosen": "Yes", "rejected": "No"}), 1,
        "no prompt", "add the column prompt"),
    bad("a text against turns", "pairs.jsonl", changed(PAIRS, 0, chosen=[REPLY]), 1,
        "different kinds", "both as texts"),
    bad("different conversations", "pairs.jsonl",
        lines({"chosen": [TURN, REPLY], "rejected": [{**TURN, "content": "Ho"}, REPLY]}), 1,
        "differ before their last turn", "common turns"),
    bad("no reference", "test.jsonl", changed(TEST, 1, reference=...), 2,
        "no column 'reference'", "columns:"),
    bad("a reference that is true", "test.jsonl", changed(TEST, 0, reference=True), 1,
        "reference is True, not a text", "in quotes"),
    Bad("every prompt is a test item's",
        {"test.jsonl": lines(*({"prompt": r["prompt"].upper(), "reference": "1"} for r in SFT))},
        "sft.jsonl", None, "every prompt is a test item's", "other rows"),
    Bad("ids twice",
        {"test.jsonl": lines(*({**row, "id": 7} for row in TEST)),
         "card.yaml": GOOD["card.yaml"].replace(
             "test: test.jsonl", "test: {path: test.jsonl, columns: {id: id}}")},
        "test.jsonl", 2, "also that of row 1", "make the ids different"),
    Bad("no row left after dropping",
        {"sft.jsonl": lines({"prompt": "", "response": "a"}, {"prompt": "b"}),
         "card.yaml": GOOD["card.yaml"] + "bad_rows: drop\n"},
        "sft.jsonl", 1, "no row is left of 2", "remove the row"),
    Bad("no row in the range",
        {"card.yaml": GOOD["card.yaml"].replace(
            "sft: sft.jsonl", "sft: {path: sft.jsonl, rows: 10..20}")},
        "sft.jsonl", None, "no rows 10", "correct `rows`"),
    Bad("a test item in a pool, refused",
        {"test.jsonl": lines(*TEST, {"prompt": "what is  2 + 1", "reference": "3"}),
         "card.yaml": GOOD["card.yaml"] + "test_in_pool: refuse\n"},
        "sft.jsonl", 3, "a test item's", "test_in_pool: remove"),
    Bad("labels that are words",
        {"pairs.jsonl": lines({"prompt": "a", "response": "b", "label": "good"}),
         "study.yaml": GOOD["study.yaml"].replace("dpo", "kto"),
         "card.yaml": GOOD["card.yaml"] + "pref_unit: label\n"},
        "pairs.jsonl", 1, "'good', not true or false", "write true or false"),
    Bad("labels for dpo",
        {"pairs.jsonl": lines(*({"prompt": f"{n}", "response": "b", "label": True}
                                for n in range(4))),
         "card.yaml": GOOD["card.yaml"] + "pref_unit: label\n"},
        "study.yaml", 3, "dpo needs pairs", "kto"),
    Bad("too few examples",
        {"study.yaml": GOOD["study.yaml"].replace("n_sft: [0, 2]", "n_sft: [0, 2, 9]")},
        "study.yaml", 4, "has 4 demonstrations: too few", "at most 4"),
    Bad("too few test items",
        {"study.yaml": GOOD["study.yaml"].replace("n_items: 2", "n_items: 3")},
        "study.yaml", 7, "has 2 test items", "n_items: 2"),
]  # fmt: skip

CARDS = [
    bad("no such card", "card.yaml", None, None, "no such file", "check the path"),
    bad("an empty card", "card.yaml", "", None, "is empty", "examples/cards"),
    bad("a card that is a list", "card.yaml", "- a\n", None, "a mapping", "examples/cards"),
    bad("a card that is not YAML", "card.yaml", "name: [a\n", 2, "not one YAML", "brackets"),
    card("no name", 1, "name is missing", "add name:", name=None),
    card("no test", 1, "test is missing", "add test:", test=None),
    card("nothing to learn from", 1, "no examples to learn from", "add sft:", sft=None,
         preference=None),
    card("unknown metric", 5, "'rouge' is not one of", "write", metric="rouge"),
    card("broken regex", 5, "not a regular expression: missing )", "single quotes",
         metric="{regex: {strict: 'Answer: (\\d+'}}"),
    card("regex without strict", 5, "regex needs strict", "strict:",
         metric="{regex: {lenient: 'a'}}"),
    card("a regex that is no mapping", 5, "settings of regex are a mapping", "regex: {strict",
         metric="{regex: '[0-9]+'}"),
    card("a broken pattern to remove", 2, "not a regular expression", "mend it",
         sft="{path: sft.jsonl, remove: '[a'}"),
    card("code that is not allowed", 5, "does not allow to run it", "allow_python: true",
         metric="{python: 'mine:score'}"),
    card("code that is not there", None, "cannot be imported", "not_there.py beside the card",
         metric="{python: 'mine_not_there:score'}", allow_python="true"),
    card("code without a colon", 5, "not module:function", "beside the card",
         metric="{python: mine}", allow_python="true"),
    card("a field with an attribute", 7, "not a plain name", "name of a column",
         prompt="'{question.__class__}'"),
    card("a prompt with an open brace", 7, "not a format string", "for braces",
         prompt="'{question'"),
    card("a prompt without a field", 7, "has no field", "{prompt}", prompt="'Answer:'"),
    card("misspelt setting", 7, "no setting called 'max_tokens'", "write max_new_tokens",
         max_tokens="5"),
    card("file and hub", 2, "not both", "remove path or hub", sft="{path: a.jsonl, hub: a/b}"),
    card("no source", 2, "neither path nor hub", "add path", sft="{columns: {a: b}}"),
    card("a file with a split", 2, "a file has no split", "remove split",
         sft="{path: sft.jsonl, split: train}"),
    card("an empty range", 2, "is empty", "3..9", sft="{path: sft.jsonl, rows: 9..3}"),
    card("a range of words", 2, "not a range of rows", "0..999", sft="{path: a.jsonl, rows: all}"),
    card("no hub id", 2, "not the id of a data set", "openai/gsm8k", sft="{hub: 'a b'}"),
    card("no tokens", 6, "at least 1", "at least 1", max_new_tokens="0"),
    card("unknown base", 7, "no built-in task 'gsm9k'", "gsm8k", base="gsm9k"),
    Bad("two tasks of one name",
        {"study.yaml": GOOD["study.yaml"].replace("[card.yaml]", "[card.yaml, other.yaml]"),
         "other.yaml": GOOD["card.yaml"]},
        "study.yaml", 2, "two tasks are called 'sums'", "different names"),
]  # fmt: skip

TABLE = [*FILES, *ROWS, *CARDS]
