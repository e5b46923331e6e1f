"""Wrong study files, each with what must be said of it.

A `Bad` is a small change to a right study: whole top-level keys replaced (`**changes`, None removes
one), or a text of its own. Rows are those of `GOOD`'s keys, one key per row.
"""

from __future__ import annotations

from dataclasses import dataclass

GOOD = {
    "models": "[sandbox:small]",
    "tasks": "[math]",
    "methods": "[dpo]",
    "budget": "{unit: examples, levels: [250, 1000]}",
    "shares": "[0, 0.25, 1]",
    "replicates": "2",
    "prices": "{sft: 1, preference: 1}",
    "recipe": "sandbox",
    "trainer": "auto",
    "search": "grid",
    "evaluation": "{n_items: 100}",
}
ROW = {key: row for row, key in enumerate(GOOD, start=1)}


@dataclass(frozen=True)
class Bad:
    """`content` must be refused at `row` and `field`, with both fragments in the message."""

    name: str
    content: str | bytes
    row: int | None
    field: str | None
    problem: str
    mend: str


def text_of(changes: dict[str, str | None]) -> str:
    """GOOD with keys replaced (None: removed) and new ones at the end."""
    keys = {**GOOD, **changes}
    return "".join(f"{key}: {value}\n" for key, value in keys.items() if value is not None)


def bad(
    name: str, field: str, problem: str, mend: str, row: int | None = None, **changes: str | None
) -> Bad:
    """A wrong value; its row is that of the field's top-level key, unless said otherwise."""
    top = field.split(".")[0].split("[")[0]
    return Bad(name, text_of(changes), row or ROW.get(top), field, problem, mend)


def raw(
    name: str,
    content: str | bytes,
    row: int | None,
    problem: str,
    mend: str,
    field: str | None = None,
) -> Bad:
    """A file that is wrong as a whole, or in a way that rows of `key: value` cannot show."""
    return Bad(name, content, row, field, problem, mend)


END = len(GOOD) + 1  # the row of a key that GOOD does not have
USD = "{unit: usd, levels: [100]}"
GOOD_TEXT = text_of({})

FILES = [
    raw("empty", "", None, "empty", "apportion init"),
    raw("only comments", "# nothing\n\n", None, "empty", "apportion init"),
    raw("null", "~\n", None, "empty", "apportion init"),
    raw("a list", "- models\n- tasks\n", None, "mapping", "apportion init"),
    raw("a text", "just some words\n", None, "mapping", "apportion init"),
    raw("several documents", GOOD_TEXT + "---\n" + GOOD_TEXT, END, "several documents", "keep one"),
    raw("unclosed bracket", "models: [a\ntasks: b\n", 2, "not one YAML", "brackets"),
    raw("tab", "models:\n\t- a\n", 2, "not one YAML", "spaces, not tabs"),
    raw("unclosed quote", 'models: "a\n', 2, "not one YAML", "quotes"),
    raw("colon in a value", "models: a: b\n", 1, "not one YAML", "colons"),
    raw("utf-16", GOOD_TEXT.encode("utf-16"), 1, "UTF-16", "UTF-8"),
    raw("latin-1", "# ok\ntasks: Gemüse\n".encode("latin-1"), 2, "not UTF-8", "UTF-8"),
    raw("binary", b"\x89PNG\r\n\x1a\n\0\0\0", 3, "binary", "study file"),
    raw("control character", "models: a\nx: \x07\n", 2, "no text file holds", "remove it"),
    raw("too large", "# " + "x" * 1_000_000, None, "larger than", "study file"),
    raw("python object", "models: !!python/object/apply:os.system [ls]\n", 1,
        "the tag '!!python", "remove the tag", "models"),
    raw("python tuple", text_of({"shares": "!!python/tuple [0, 1]"}), ROW["shares"],
        "the tag '!!python", "remove the tag", "shares"),
    raw("own tag", text_of({"recipe": "!mine sandbox"}), ROW["recipe"],
        "the tag '!mine", "remove the tag", "recipe"),
    raw("binary tag", text_of({"tasks": "!!binary aGk="}), ROW["tasks"],
        "the tag '!!binary", "remove the tag", "tasks"),
    raw("alias bomb", "a: &a [1]\n" + "".join(f"b{i}: [*a, *a]\n" for i in range(12)), 12,
        "too many aliases", "write the values out"),
    raw("doubling aliases",
        "a0: &a0 [1, 1]\n" + "".join(f"a{i}: &a{i} [*a{i-1}, *a{i-1}]\n" for i in range(1, 10))
        + "a10: [" + ", ".join(["[x]"] * 4500) + "]\n", 11,
        "expand to too many", "write them out"),
    raw("alias of itself", "models: &m [*m]\n", 1, "contains itself", "write the values out"),
    raw("unknown alias", "models: *nobody\n", 1, "undefined alias", "indentation"),
    raw("nested too deeply", "models: " + "[" * 5000, 1, "too deeply", "brackets"),
    raw("too many values", "models:\n" + "- a\n" * 12_000, 9_999, "more than 10000", "smaller"),
    raw("bad escape", 'models: "\\UFFFFFFFF"\n', 1, "not YAML", "escapes"),
    raw("half a character", 'models: "\\ud800"\n', 1, "cannot be read", "correct it", "models"),
    raw("endless digits", text_of({"replicates": "9" * 5000}), ROW["replicates"],
        "cannot be read as a whole number", "correct it", "replicates"),
    raw("key given twice", GOOD_TEXT + "tasks: [math]\n", END,
        "given twice (first at row 2)", "keep one", "tasks"),
    raw("inner key given twice", text_of({"prices": "{sft: 1, sft: 2}"}), ROW["prices"],
        "given twice", "keep one", "prices.sft"),
    raw("number as a key", GOOD_TEXT + "1: 2\n", END, "plain name", "name: value"),
    raw("list as a key", GOOD_TEXT + "? [a]\n: 2\n", END, "plain name", "name: value"),
]  # fmt: skip

VALUES = [
    bad("misspelt key", "modles", "no setting called 'modles'", "write models.", END, modles="a"),
    bad("key of elsewhere", "n_items", "no setting", "evaluation.n_items", END, n_items="5"),
    bad("key from nowhere", "qqq", "no setting called 'qqq'", "remove it", END, qqq="1"),
    bad("merge key", "<<", "no setting", "merging is not supported", END, **{"<<": "{a: 1}"}),
    bad("misspelt inner key", "budget.level", "no setting", "write levels.",
        budget="{level: [1], levels: [250]}"),
    bad("no models", "models", "models is missing", "add models: [sandbox:small]", 1, models=None),
    bad("no tasks", "tasks", "tasks is missing", "add tasks: [math]", 1, tasks=None),
    bad("no recipe", "recipe", "recipe is missing", "add recipe:", 1, recipe=None),
    bad("empty models", "models", "list is empty", "sandbox:small", models="[]"),
    bad("models null", "models", "a list is wanted, not nothing", "models: [value]", models=""),
    bad("model is a number", "models[0]", "text is wanted, not 3", "models", models="[3]"),
    bad("model of no form", "models[0]", "not the name of a model", "HuggingFaceTB",
        models="['gpt 2']"),
    bad("model of another scheme", "models[0]", "not the name of a model", "sandbox:small",
        models="[openai:gpt]"),
    bad("model twice", "models[1]", "listed twice", "remove one",
        models="[sandbox:small, sandbox:small]"),
    bad("task is true", "tasks[0]", "text is wanted, not true", "tasks", tasks="[true]"),
    bad("empty task", "tasks[0]", "not a name", "math", tasks="['']"),
    bad("method in capitals", "methods", "'DPO' is not one of dpo", "write dpo", methods="DPO"),
    bad("unknown method", "methods[0]", "'rlhf' is not one of", "write", methods="[rlhf]"),
    bad("budget is a number", "budget", "mapping", "unit: examples", budget="5000"),
    bad("budget without levels", "budget.levels", "levels is missing", "levels: [250",
        budget="{unit: examples}"),
    bad("unknown unit", "budget.unit", "'eur' is not one of", "examples, usd",
        budget="{unit: eur, levels: [1]}"),
    bad("level is a number", "budget.levels", "a list is wanted, not 1000", "levels: [1000]",
        budget="{levels: 1000}"),
    bad("level is zero", "budget.levels[1]", "must be above 0", "above 0",
        budget="{levels: [10, 0]}"),
    bad("level is negative", "budget.levels[0]", "must be above 0", "above 0",
        budget="{levels: [-5]}"),
    bad("level with a comma", "budget.levels[0]", "a number is wanted, not '1,000'", "write 1000",
        budget="{levels: ['1,000']}"),
    bad("level twice", "budget.levels[1]", "listed twice", "remove", budget="{levels: [10, 10.0]}"),
    bad("half an example", "budget.levels[0]", "examples come whole", "unit: usd",
        budget="{levels: [10.5]}"),
    bad("infinite level", "budget.levels[0]", "finite number", "plain number",
        budget="{levels: [.inf]}"),
    bad("too large a level", "budget.levels[0]", "at most 10000000", "whole number",
        budget="{levels: [1e9]}"),
    bad("share in percent", "shares[1]", "at most 1", "write 0.25", shares="[0, 25]"),
    bad("share with a percent sign", "shares[0]", "number is wanted", "write 0.25",
        shares="['25%']"),
    bad("negative share", "shares[0]", "at least 0", "at least 0", shares="[-0.1]"),
    bad("share is nan", "shares[0]", "finite number", "plain number", shares="[.nan]"),
    bad("share is true", "shares[1]", "not true", "plain number", shares="[0, true]"),
    bad("share twice", "shares[2]", "listed twice", "remove", shares="[0, 1, 1.0]"),
    bad("share in brackets", "shares[0]", "number is wanted, not a list", "without brackets",
        shares="[[1]]"),
    bad("no shares", "shares", "budget has no shares", "add shares", 1, shares=None),
    bad("no budget", "budget", "shares have no budget", "add budget", 1, budget=None),
    bad("nothing to measure", "budget", "nowhere what to measure", "lattice", 1,
        budget=None, shares=None),
    bad("budget and lattice", "lattice", "not both", "remove lattice", END,
        lattice="{n_sft: [0, 1], n_pref: [0, 1]}"),
    bad("lattice with halves", "lattice.n_sft[1]", "whole number is wanted, not 2.5", "say, 2",
        END - 2, lattice="{n_sft: [0, 2.5], n_pref: [0]}", budget=None, shares=None),
    bad("lattice below zero", "lattice.n_pref[0]", "at least 0", "at least 0",
        END - 2, lattice="{n_sft: [1], n_pref: [-1]}", budget=None, shares=None),
    bad("lattice level twice", "lattice.n_sft[1]", "listed twice", "remove",
        END - 2, lattice="{n_sft: [1, 1], n_pref: [0]}", budget=None, shares=None),
    bad("lattice of nothing", "lattice", "no cell but the untrained", "above 0",
        END - 2, lattice="{n_sft: [0], n_pref: [0]}", budget=None, shares=None),
    bad("half a lattice", "lattice.n_pref", "n_pref is missing", "add n_pref",
        END - 2, lattice="{n_sft: [1]}", budget=None, shares=None),
    bad("replicates with a fraction", "replicates", "not 2.5", "say, 2", replicates="2.5"),
    bad("replicates is true", "replicates", "not true", "plain number", replicates="true"),
    bad("replicates is yes", "replicates", "not 'yes'", "plain number", replicates="yes"),
    bad("replicates in quotes", "replicates", "not '3'", "write 3, without quotes",
        replicates="'3'"),
    bad("no replicates", "replicates", "at least 1", "at least 1", replicates="0"),
    bad("equal replicates", "replicates", "one and the same", "replicates: 1",
        seeds="{data: 0, train: 0, sample: 0}"),
    bad("equal greedy replicates", "replicates", "greedy", "replicates: 1",
        seeds="{data: 0, train: 0}"),
    bad("seed is a word", "seeds.data", "not a seed", "vary", END, seeds="{data: random}"),
    bad("negative seed", "seeds.train", "out of range", "0 to", END, seeds="{train: -1}"),
    bad("price is zero", "prices.sft", "above 0", "2.50", prices="{sft: 0}"),
    bad("price is negative", "prices.preference", "above 0", "2.50", prices="{preference: -1}"),
    bad("price is a word", "prices.sft", "'cheap' is not a price", "0.40..0.90",
        prices="{sft: cheap}"),
    bad("price with a dash", "prices.sft", "not a price", "0.40..0.90", prices="{sft: 0.4-0.9}"),
    bad("range upside down", "prices.sft", "above the high price", "0.4..0.9",
        prices="{sft: 0.9..0.4}"),
    bad("half a range", "prices.sft.high", "high is missing", "add high", prices="{sft: {low: 1}}"),
    bad("prices is a number", "prices", "mapping", "sft: 2.50", prices="2"),
    bad("usd without prices", "prices", "needs prices", "unit: examples", 1,
        budget=USD, prices=None),
    bad("usd with one price", "prices.preference", "this price too", "add preference",
        budget=USD, prices="{sft: 1}"),
    bad("usd with a range", "prices.sft", "range of prices", "such as 0.65",
        budget=USD, prices="{sft: 0.4..0.9, preference: 1}"),
    bad("usd buys nothing", "budget.levels[0]", "buys nothing", "well above 300",
        budget=USD, prices="{sft: 300, preference: 400}"),
    bad("usd does not reach the fixed cost", "budget.levels[0]", "buys nothing", "well above 201",
        budget=USD, prices="{sft: {price: 1, fixed: 200}, preference: {price: 9, fixed: 999}}"),
    bad("usd with a range in terms", "prices.sft", "range of prices", "such as 0.65",
        budget=USD, prices="{sft: {price: 0.4..0.9, fixed: 5}, preference: 1}"),
    bad("usd with a preset of ranges", "prices.sft", "range of prices", "such as 0.75",
        budget=USD, prices="{preset: human, preference: 1}"),
    bad("terms without a price", "prices.sft.price", "price is missing", "add price: 2.50",
        prices="{sft: {fixed: 200}}"),
    bad("empty terms", "prices.sft.price", "price is missing", "add price", prices="{sft: {}}"),
    bad("misspelt term", "prices.sft.fixd", "no setting called 'fixd'", "write fixed",
        prices="{sft: {price: 1, fixd: 200}}"),
    bad("price of zero in terms", "prices.sft.price", "above 0", "2.50",
        prices="{sft: {price: 0, fixed: 1}}"),
    bad("negative fixed cost", "prices.sft.fixed", "at least 0", "at least 0",
        prices="{sft: {price: 1, fixed: -5}}"),
    bad("all is rejected", "prices.sft.rejected", "at most 0.99", "at most 0.99",
        prices="{sft: {price: 1, rejected: 1}}"),
    bad("rejected in percent", "prices.preference.rejected", "a number is wanted", "write 0.1",
        prices="{preference: {price: 1, rejected: 10%}}"),
    bad("less than one annotator", "prices.sft.redundancy", "at least 1", "at least 1",
        prices="{sft: {price: 1, redundancy: 0.5}}"),
    bad("data free and compute too", "prices.preference", "unless compute has a price", "2.50",
        prices="{sft: 1, preference: 0, gpu_hour: 0}"),
    bad("negative price of compute", "prices.gpu_hour", "a price must be above 0", "GPU-hour",
        prices="{gpu_hour: -2}"),
    bad("compute is a word", "prices.gpu_hour", "'cheap' is not a price", "0.40..0.90",
        prices="{gpu_hour: cheap}"),
    bad("compute without a price", "prices.gpu_hour.price", "price is missing", "add price",
        prices="{gpu_hour: {seconds: {sft: 1, preference: 1}}}"),
    bad("seconds of one kind", "prices.gpu_hour.seconds.preference", "preference is missing",
        "add preference", prices="{gpu_hour: {price: 2, seconds: {sft: 1}}}"),
    bad("seconds of zero", "prices.gpu_hour.seconds.sft", "must be above 0", "above 0",
        prices="{gpu_hour: {price: 2, seconds: {sft: 0, preference: 1}}}"),
    bad("seconds is a number", "prices.gpu_hour.seconds", "mapping", "sft: 0.8",
        prices="{gpu_hour: {price: 2, seconds: 3}}"),
    bad("misspelt setting of compute", "prices.gpu_hour.second", "no setting called 'second'",
        "write seconds", prices="{gpu_hour: {price: 2, second: {sft: 1, preference: 1}}}"),
    bad("compute under another name", "prices.gpu_hours", "no setting called 'gpu_hours'",
        "write gpu_hour", prices="{gpu_hours: 2}"),
    bad("usd with compute that was not timed", "prices.gpu_hour", "before training was timed",
        "unit: examples", budget=USD, prices="{sft: 1, preference: 1, gpu_hour: 2}"),
    bad("usd with a range of compute", "prices.gpu_hour", "range of prices", "such as 1.5",
        budget=USD, prices="{sft: 1, preference: 1, "
        "gpu_hour: {price: 1..2, seconds: {sft: 1, preference: 1}}}"),
    bad("usd that buys no training", "budget.levels[0]", "cheapest example costs 1000", "1000",
        budget=USD, prices="{sft: 0, preference: 0, "
        "gpu_hour: {price: 3600, seconds: {sft: 1000, preference: 2000}}}"),
    bad("hours without seconds", "prices.gpu_hour", "needs the seconds", "40gpuh",
        budget="{unit: gpu_hours, levels: [4]}", prices="{gpu_hour: 2}"),
    bad("hours without prices", "prices", "needs the seconds", "gpu_hour: {price: 2", 1,
        budget="{unit: gpu_hours, levels: [4]}", prices=None),
    bad("hours that buy nothing", "budget.levels[0]", "gpu_hours buys nothing", "well above",
        budget="{unit: gpu_hours, levels: [0.001]}",
        prices="{gpu_hour: {price: 2, seconds: {sft: 36, preference: 72}}}"),
    bad("unknown prices", "prices", "no prices called 'humans'", "synthetic", prices="humans"),
    bad("unknown prices in a mapping", "prices", "no prices called", "human",
        prices="{preset: 3, sft: 1}"),
    bad("usd buys too much", "budget.levels[0]", "more than 10000000", "check",
        budget=USD, prices="{sft: 1e-7, preference: 1}"),
    bad("unknown preset", "recipe", "no recipe called 'sandobx'", "sandbox", recipe="sandobx"),
    bad("unknown preset in a mapping", "recipe", "no recipe called 'x'", "paper",
        recipe="{preset: x}"),
    bad("recipe without stages", "recipe.sft", "sft is missing", "learning_rate",
        recipe="{preference: {learning_rate: 1e-5}}"),
    bad("recipe is a list", "recipe", "mapping", "sandbox", recipe="[sandbox]"),
    bad("learning rate of zero", "recipe.sft.learning_rate", "above 0", "above 0",
        recipe="{preset: sandbox, sft: {learning_rate: 0}}"),
    bad("misspelt rate", "recipe.sft.learning_rte", "no setting", "write learning_rate",
        recipe="{preset: sandbox, sft: {learning_rte: 1e-4}}"),
    bad("beta in the wrong place", "recipe.beta", "no setting", "recipe.preference.beta",
        recipe="{preset: sandbox, beta: 0.2}"),
    bad("micro-batches that do not fit", "recipe.sft.micro_batch_size", "do not make up",
        "such as 4", recipe="{preset: sandbox, sft: {batch_size: 16, micro_batch_size: 5}}"),
    bad("merge without an adapter", "recipe.stage_two", "nothing to merge", "chain",
        recipe="{preset: paper, lora: null}"),
    bad("unknown dtype", "recipe.dtype", "'fp16' is not one of", "write bfloat16",
        recipe="{preset: sandbox, dtype: fp16}"),
    bad("module twice", "recipe.lora.target_modules[1]", "listed twice", "remove",
        recipe="{preset: default, lora: {target_modules: [a, a]}}"),
    bad("unknown trainer", "trainer", "'accelerate' is not one of", "auto, native, trl",
        trainer="accelerate"),
    bad("unknown search", "search", "'gird' is not one of", "write grid", search="gird"),
    bad("no items", "evaluation.n_items", "at least 1", "at least 1", evaluation="{n_items: 0}"),
    bad("unknown decoding", "evaluation.decoding", "no decoding called", "greedy, paper",
        evaluation="{decoding: beam}"),
    bad("greedy at a temperature", "evaluation.decoding", "no temperature", "strategy: sample",
        evaluation="{decoding: {temperature: 0.5}}"),
    bad("cold sampling", "evaluation.decoding.temperature", "above 0", "above 0",
        evaluation="{decoding: {strategy: sample, temperature: 0}}"),
]  # fmt: skip

#: What only the tasks, models and pools can tell (`check_file`, `compile_study`).
NAMES = [
    bad("unknown task", "tasks[0]", "no task 'maths'", "math", tasks="[maths]"),
    bad("unknown embedded model", "models[1]", "no embedded model", "sandbox:small",
        models="[sandbox:small, sandbox:huge]"),
    bad("no such directory", "models[0]", "no such directory", "existing directory",
        models="[./nowhere]"),
    bad("too many cells", "lattice", "can be planned", "fewer", END - 2, replicates="10000",
        lattice="{n_sft: [0, 1, 2, 3, 4], n_pref: [0, 1, 2, 3, 4]}", budget=None, shares=None),
]  # fmt: skip

TABLE = [*FILES, *VALUES]
