"""A cell as a plain TRL script with its data: it runs where this package is not installed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apportion.data.records import Demonstration, Item, Label, Pair, ordered_digest
from apportion.errors import DataError, StudyError
from apportion.run.common import task_of
from apportion.run.export.cell import Parts
from apportion.run.export.folder import fresh
from apportion.run.export.texts import Frame, Texts, texts
from apportion.store.record import plain

if TYPE_CHECKING:
    from apportion.models.resolve import ModelRef
    from apportion.models.template import Template
    from apportion.run.results import CellResult

TEMPLATE = Path(__file__).with_name("train_template.py")
_BLOCK = re.compile(r"# <cell>\n.*?# </cell>\n", flags=re.S)
_PACKAGES = ("torch", "transformers", "peft", "trl", "datasets", "accelerate", "safetensors")
_METHODS = ("dpo", "kto")
_METRICS = {"final_number": "final_number.py"}  # metrics that are one file without imports of ours


@dataclass(frozen=True)
class Script:
    """Where a script was written, and what it cannot repeat exactly (sentences)."""

    folder: Path
    caveats: tuple[str, ...]


def export_script(parts: Parts, out: Path, *, known: CellResult | None = None) -> Script:
    """Write `train.py`, its data, `scoring.py`, `requirements.txt` and `README.md` to `out`.

    `known`: what the store has of this cell, for the README. Raises StudyError where `out` has
    files in it, or the method has no script; DataError where data are not what they were.
    """
    from apportion.models.resolve import resolve_model
    from apportion.models.template import load_tokenizer, make_template

    if parts.preference is not None and parts.cell.method not in _METHODS:
        raise StudyError(
            f"a cell of method {parts.cell.method!r} cannot be written as a script.",
            field="--as",
            mend="export its weights: --as merged or --as adapter.",
        )
    if parts.quantization != "none":
        raise StudyError(
            f"a cell over a base in {parts.quantization} cannot be written as a script.",
            field="--as",
            mend="export its weights: --as adapter or --as peft-chain.",
        )
    if any("trajectory" in stage.spec for stage in parts.training):
        raise StudyError(
            "a cell of a shared trajectory cannot be written as a script.",
            field="--as",
            mend="export its weights: --as merged or --as adapter.",
        )
    ref = resolve_model(parts.spec["model"]["name"])
    tokenizer = load_tokenizer(ref)
    template = make_template(ref, tokenizer)
    frame = Frame.of(template, tokenizer)
    demonstrations, units, items = _examples(parts)
    rows = texts(frame, demonstrations, _in_groups(parts, template, units), items)
    with fresh(out) as folder:
        _data(folder, parts, rows)
        _model(folder, ref)
        scored = _scoring(folder, parts)
        title = parts.name.replace("\\", "/").replace('"', "'")  # it stands in a docstring
        text = TEMPLATE.read_text(encoding="utf-8").replace("@TITLE@", title + ".")
        block = _constants(parts, ref, frame, sorted(template.stop_ids))
        (folder / "train.py").write_text(
            _BLOCK.sub(lambda _: f"# <cell>\n{block}# </cell>\n", text), encoding="utf-8"
        )
        (folder / "requirements.txt").write_text(_requirements(parts), encoding="utf-8")
        caveats = _caveats(parts, rows, scored)
        (folder / "README.md").write_text(_readme(parts, known, caveats), encoding="utf-8")
    return Script(out, caveats)


def _examples(
    parts: Parts,
) -> tuple[list[Demonstration], list[Pair] | list[Label], list[Item]]:
    """The cell's examples in their order, checked against the digests of its stages."""
    pool = task_of(parts.spec).pool

    def same(examples: Iterable[Any], wanted: Mapping[str, Any]) -> list[Any]:
        found = list(examples)
        if len(found) != wanted["n"] or ordered_digest(found) != wanted["digest"]:
            raise DataError(
                f"the data of task {parts.cell.task!r} changed while they were read.",
                mend="export again.",
            )
        return found

    sft, pref = (
        None if stage is None else stage.spec["data"] for stage in (parts.sft, parts.preference)
    )
    items = parts.spec["items"]
    units = pool.labels if parts.cell.method == "kto" else pool.pairs
    return (
        [] if sft is None else same(pool.demonstrations(sft["n"], seed=sft["seed"]), sft),
        [] if pref is None else same(units(pref["n"], seed=pref["seed"]), pref),
        same(pool.items(items["n"]), items),
    )


def _in_groups(
    parts: Parts, template: Template, units: list[Pair] | list[Label]
) -> list[Pair] | list[Label]:
    """KTO's labels in the order that is cut into groups, without what the cell left out: TRL makes
    its groups of neighbours in the file. Pairs stay as they are: TRL leaves the same ones out."""
    if parts.preference is None or parts.cell.method != "kto":
        return units
    from apportion.training.kto import label_order

    spec = parts.preference.spec
    order = label_order(
        [len(template.prompt_ids(unit.prompt, unit.context)) for unit in units],
        max_length=spec["max_length"],
        group_size=spec["kto"]["group_size"],
        seed=spec["train_seed"],
    )
    labels: list[Any] = [units[index] for index in order]
    return labels


def _preference(parts: Parts) -> dict[str, Any] | None:
    """The preference stage's recipe; with KTO a group of labels is one forward pass."""
    if parts.preference is None:
        return None
    recipe: dict[str, Any] = plain(parts.preference.spec["recipe"])
    if parts.cell.method == "kto":
        recipe["micro_batch_size"] = parts.preference.spec["kto"]["group_size"]
    return recipe


def _kto(parts: Parts) -> dict[str, Any] | None:
    """KTO's own settings as arguments of TRL's KTOConfig; None for other methods."""
    if parts.preference is None or parts.cell.method != "kto":
        return None
    names = ("beta", "desirable_weight", "undesirable_weight")
    return {name: parts.preference.spec["kto"][name] for name in names}


def _data(folder: Path, parts: Parts, rows: Texts) -> None:
    files = {"test.jsonl": rows.test}
    if parts.sft is not None:
        files["sft.jsonl"] = rows.sft
    if parts.preference is not None:
        files["preference.jsonl"] = rows.preference
    for name, lines in files.items():
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / name).write_text(text, encoding="utf-8")


def _model(folder: Path, ref: ModelRef) -> None:
    """An embedded model is copied: nobody has it who does not have this package."""
    if ref.kind == "sandbox":
        shutil.copytree(ref.path, folder / "model")


def _scoring(folder: Path, parts: Parts) -> bool:
    """Write the task's scoring rule, where it is one file; returns whether it is."""
    name = _METRICS.get(parts.score.spec["metric"])
    if name is None:
        return False
    from apportion import metrics

    rule = (Path(str(metrics.__file__)).with_name(name)).read_text(encoding="utf-8")
    (folder / "scoring.py").write_text(rule + _SCORE, encoding="utf-8")
    return True


_SCORE = '''

def score(reference: str, response: str) -> dict[str, float]:
    """Strict and lenient scores of a response, and whether the strict format was kept."""
    strict, lenient = strict_answer(response), lenient_answer(response)
    return {
        "strict": float(matches(strict, reference)),
        "lenient": float(matches(lenient, reference)),
        "format_ok": float(strict is not None),
    }
'''


def _constants(parts: Parts, ref: ModelRef, frame: Frame, stop_ids: list[int]) -> str:
    """The block of constants at the top of the script."""
    spec = parts.spec
    first = parts.training[0].spec if parts.training else {}
    values = {
        "MODEL": "model" if ref.kind == "sandbox" else ref.path,
        "REVISION": spec["model"]["weights_digest"] if ref.kind == "hub" else None,
        "DTYPE": spec["dtype"],
        "SEED": first.get("train_seed", 0),
        "SAMPLE_SEED": spec["sample_seed"] or 0,
        "MAX_LENGTH": first.get("max_length", 0),
        "LORA": _lora(parts),
        "MERGE_16BIT": parts.merges_16bit,
        "SFT": None if parts.sft is None else plain(parts.sft.spec["recipe"]),
        "PREFERENCE": _preference(parts),
        "KTO": _kto(parts),
        "END": frame.end,
        "STOP_IDS": stop_ids,
        "STOP": list(spec["stop"]),
        "BEFORE": frame.template.before_response,
        "DECODING": plain(spec["decoding"]),
        "EVAL_BATCH": spec["batch_size"],
        "PRIMARY": parts.score.spec["primary"],
    }
    return "".join(f"{name}: Any = {value!r}\n" for name, value in values.items())


def _lora(parts: Parts) -> dict[str, Any] | None:
    """The adapter's settings as arguments of PEFT's LoraConfig."""
    lora = parts.lora
    if lora is None:
        return None
    names = {"r": "r", "alpha": "lora_alpha", "dropout": "lora_dropout"}
    return {**{names[k]: lora[k] for k in names}, "target_modules": plain(lora["target_modules"])}


def _requirements(parts: Parts) -> str:
    """The versions that are installed here; a floor for what is not."""
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name}=={metadata.version(name).partition('+')[0]}")
        except metadata.PackageNotFoundError:
            found.append({"trl": "trl>=1.8"}.get(name, name))
    if any(stage.spec["recipe"]["optimizer"] == "adamw_8bit" for stage in parts.training):
        found.append("bitsandbytes")
    return "\n".join(found) + "\n"


def _caveats(parts: Parts, rows: Texts, scored: bool) -> tuple[str, ...]:
    """What the script does not repeat to the last bit, one sentence each."""
    found = []
    if rows.differing:
        found.append(
            f"TRL makes other tokens of {rows.differing} of the training examples (they merge "
            "where prompt and response meet); the cell tokenises the two apart."
        )
    if parts.spec["decoding"]["strategy"] == "sample":
        found.append("Responses are sampled from other random numbers than the cell's.")
    if parts.lora is not None and parts.lora["dropout"]:
        found.append("The adapter's dropout draws other random numbers than the cell's.")
    for stage in parts.training:
        micro, weighting = stage.spec["recipe"]["micro_batch_size"], stage.kind == "sft"
        if not weighting and parts.cell.method == "dpo" and micro not in (None, 1):
            found.append(
                "The last batch of a DPO epoch weighs its micro-batches alike, the cell its pairs."
            )
    if not scored:
        found.append(
            f"The metric {parts.score.spec['metric']!r} is not part of the script: it writes "
            "run/completions.jsonl, to be scored with the task's own metric."
        )
    return tuple(found)


def _readme(parts: Parts, known: CellResult | None, caveats: tuple[str, ...]) -> str:
    lines = [
        f"# {parts.name}",
        "",
        "One cell of a study of apportion, as a TRL script that does without it.",
        "",
        "    pip install -r requirements.txt",
        "    python train.py",
        "",
        "| file | what it holds |",
        "|---|---|",
        "| train.py | the recipe as constants at the top, then training, answering, scoring |",
    ]
    if parts.sft is not None:
        lines.append("| sft.jsonl | demonstrations, in TRL's prompt-completion format |")
    if parts.preference is not None:
        lines.append(
            "| preference.jsonl | labels, in TRL's unpaired preference format, in their groups |"
            if parts.cell.method == "kto"
            else "| preference.jsonl | pairs, in TRL's preference format, explicit prompt |"
        )
    lines += [
        "| test.jsonl | test items: prompt and reference |",
        "| scoring.py | the scoring rule, where it is one file |",
        "| run/ | written by the script: weights, steps.json, completions.jsonl, results.json |",
        "",
        "Texts are as the model reads them: the template is written out. Order, seeds, schedule "
        "and the adapter's first weights are the cell's, so the numbers are the same up to "
        "rounding.",
    ]
    if known is not None and known.score is not None:
        spread = "" if known.stderr is None else f" (standard error {known.stderr:.4f})"
        lines += ["", f"The cell's score: {known.score:.6g}{spread} on {known.n_items} items."]
    if parts.spec["model"]["name"].startswith("sandbox:"):
        lines += ["", "`model/` is a model embedded in apportion: it says nothing about real ones."]
    if caveats:
        lines += ["", "What is not the same to the last bit:", ""]
        lines += [f"- {sentence}" for sentence in caveats]
    return "\n".join(lines) + "\n"
