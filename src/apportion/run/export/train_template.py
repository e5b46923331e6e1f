"""@TITLE@

    pip install -r requirements.txt
    python train.py

Trains with TRL what stands in sft.jsonl and preference.jsonl, answers test.jsonl, scores it, and
writes run/results.json. One process, one device: more would make larger batches.
"""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, set_seed
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, SFTConfig, SFTTrainer

HERE = Path(__file__).resolve().parent
RUN = HERE / "run"

# <cell>
MODEL = ""
REVISION: str | None = None
DTYPE = "float32"
SEED = 0
SAMPLE_SEED = 0
MAX_LENGTH = 1024
LORA: dict[str, Any] | None = None
MERGE_16BIT = False
SFT: dict[str, Any] | None = None
PREFERENCE: dict[str, Any] | None = None
KTO: dict[str, Any] | None = None
END = ""
STOP_IDS: list[int] = []
STOP: list[str] = []
BEFORE = " "
DECODING: dict[str, Any] = {}
EVAL_BATCH = 100
PRIMARY = "strict"
# </cell>

ON_GPU = torch.cuda.is_available()


# -- data ---------------------------------------------------------------------------------------


def rows(name: str) -> list[dict[str, Any]]:
    """The rows of a file beside this script."""
    with (HERE / name).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


class Order(torch.utils.data.Sampler[int]):
    """A new permutation of the examples every epoch, all from one seeded stream."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.stream = torch.Generator().manual_seed(SEED)

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Any:
        yield from torch.randperm(self.n, generator=self.stream).tolist()


class InOrder:
    """The cell's order of examples in place of the trainer's own shuffling."""

    train_dataset: Any

    def _get_train_sampler(self, train_dataset: Any = None) -> Order:
        return Order(len(self.train_dataset if train_dataset is None else train_dataset))


class Sft(InOrder, SFTTrainer):
    """SFT with each token, or each sequence, of a batch weighing the same."""

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if SFT and SFT["loss_weighting"] == "sequence":
            # A sequence is a micro-batch (see `arguments`): its own mean, then the mean of means.
            kwargs["num_items_in_batch"] = None
            self.loss_is_scaled_for_ga = False
        return super().compute_loss(model, inputs, *args, **kwargs)


class Dpo(InOrder, DPOTrainer):
    """DPO in the cell's order."""


class Kto(KTOTrainer):
    """KTO in the file's order, every epoch: its KL is estimated in groups of neighbours."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        data = self.train_dataset if train_dataset is None else train_dataset
        return torch.utils.data.SequentialSampler(data)


# -- models -------------------------------------------------------------------------------------


def without_dropout(model: Any) -> Any:
    """`model` with all dropout off: a recipe names all the dropout there is."""
    for module in model.modules():
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def load(place: str | Path | None = None, dtype: str = DTYPE) -> Any:
    """The base model, or the whole model saved at `place`."""
    where = {"revision": REVISION} if place is None and REVISION else {}
    name = model_name() if place is None else str(place)
    return AutoModelForCausalLM.from_pretrained(name, dtype=getattr(torch, dtype), **where)


def model_name() -> str:
    """The base model's id or directory; a directory beside this script goes first."""
    beside = HERE / MODEL
    return str(beside) if beside.is_dir() else MODEL


def start() -> Any:
    """What preference tuning starts from, and its reference: the model after SFT."""
    if SFT is None:
        return load()
    if LORA is None:
        return load(RUN / "sft")
    if not MERGE_16BIT:
        return PeftModel.from_pretrained(load(), RUN / "sft")
    model = PeftModel.from_pretrained(load(dtype="float32"), RUN / "sft").merge_and_unload()
    for weight in model.parameters():
        weight.data = weight.data.to(torch.bfloat16).to(getattr(torch, DTYPE))
    return model


def trainable(model: Any) -> Any:
    """`model` with a new adapter over frozen weights, or with all weights trainable."""
    without_dropout(model)
    if LORA is None:
        return model.float().requires_grad_(True)
    config, newest = LoraConfig(task_type="CAUSAL_LM", **LORA), "default"
    set_seed(SEED)
    if isinstance(model, PeftModel):  # the SFT adapter stays, frozen, under the new one
        newest = "preference"
        model.add_adapter(newest, config)
        model.base_model.set_adapter(["default", newest])
    else:
        model = get_peft_model(model, config)
    for name, weight in model.named_parameters():
        weight.requires_grad_("lora_" in name and f".{newest}." in name)
    return model


# -- training -----------------------------------------------------------------------------------


def arguments(name: str, recipe: dict[str, Any]) -> dict[str, Any]:
    """The cell's recipe in the Trainer's words."""
    micro = recipe["micro_batch_size"] or recipe["batch_size"]
    if recipe.get("loss_weighting") == "sequence":
        micro = 1
    return {
        "output_dir": str(RUN / name),
        "seed": SEED,
        "learning_rate": recipe["learning_rate"],
        "num_train_epochs": recipe["epochs"],
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": recipe["batch_size"] // micro,
        "weight_decay": recipe["weight_decay"],
        "lr_scheduler_type": {"constant": "constant_with_warmup"}.get(
            recipe["schedule"], recipe["schedule"]
        ),
        "warmup_steps": min(recipe["warmup_ratio"], 0.999999),  # below 1: a share of all steps
        "max_grad_norm": recipe["max_grad_norm"],
        "optim": {"adamw": "adamw_torch", "adamw_8bit": "adamw_bnb_8bit"}[recipe["optimizer"]],
        "max_length": MAX_LENGTH,
        # Adapters are trained beside 16-bit weights; whole 16-bit models in 32 bits with autocast.
        "bf16": DTYPE == "bfloat16" and LORA is None,
        "use_cpu": not ON_GPU,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
    }


def keep(trainer: Any, name: str) -> Any:
    """Write what was trained and the record of its steps to run/; returns the model."""
    model, folder = trainer.model, RUN / name
    if isinstance(model, PeftModel):
        model.save_pretrained(folder, selected_adapters=list(model.peft_config)[-1:])
    else:
        model.save_pretrained(folder)
    (folder / "steps.json").write_text(json.dumps(trainer.state.log_history, indent=1))
    return model


def sft(tokenizer: Any, recipe: dict[str, Any]) -> Any:
    """Supervised fine-tuning on sft.jsonl, with the loss on the completions alone."""
    trainer = Sft(
        model=trainable(load()),
        args=SFTConfig(completion_only_loss=True, **arguments("sft", recipe)),
        train_dataset=Dataset.from_list(rows("sft.jsonl")),
        processing_class=tokenizer,
    )
    trainer.train()
    return keep(trainer, "sft")


def prefer(tokenizer: Any, recipe: dict[str, Any]) -> Any:
    """DPO or KTO on preference.jsonl; the reference is the model that it starts from."""
    kind, config, own = Dpo, DPOConfig, {"beta": recipe.get("beta")}
    if KTO:
        kind, config, own = Kto, KTOConfig, KTO
    reference = start().requires_grad_(False).eval()
    trainer = kind(
        model=trainable(start()),
        # The plain model inside, whose layers hold the SFT adapter where there is one.
        ref_model=reference.get_base_model() if isinstance(reference, PeftModel) else reference,
        args=config(
            precompute_ref_log_probs=True,
            disable_dropout=False,  # the adapter's own is wanted, and there is no other
            **own,
            **arguments("preference", recipe),
        ),
        train_dataset=Dataset.from_list(rows("preference.jsonl")),
        processing_class=tokenizer,
    )
    trainer.train()
    return keep(trainer, "preference")


# -- answering ----------------------------------------------------------------------------------


def answers(model: Any, tokenizer: Any, items: list[dict[str, Any]]) -> list[str]:
    """One response per item: in batches of similar length, up to a stop string or the limit."""
    model.eval()
    if DTYPE == "bfloat16" and LORA is None:
        model.to(torch.bfloat16)
    tokenizer.padding_side = "left"
    sampling = {}
    if DECODING["strategy"] == "sample":
        sampling = {"temperature": DECODING["temperature"], "top_p": DECODING["top_p"], "top_k": 0}
    # In place of the model's own: no penalties, and no other sampling than the cell's.
    own = model.generation_config.eos_token_id
    ends = {*STOP_IDS, *(own if isinstance(own, list) else [] if own is None else [own])}
    model.generation_config = GenerationConfig(
        max_new_tokens=DECODING["max_new_tokens"],
        do_sample=bool(sampling),
        eos_token_id=sorted(ends),
        pad_token_id=tokenizer.pad_token_id,
        **sampling,
    )
    set_seed(SAMPLE_SEED)
    ids = [tokenizer(item["prompt"])["input_ids"] for item in items]
    order = sorted(range(len(ids)), key=lambda index: (len(ids[index]), index))
    found = [""] * len(items)
    for begin in range(0, len(order), EVAL_BATCH):
        part = order[begin : begin + EVAL_BATCH]
        batch = tokenizer.pad({"input_ids": [ids[i] for i in part]}, return_tensors="pt")
        batch = {name: batch[name].to(model.device) for name in ("input_ids", "attention_mask")}
        stop = {"stop_strings": STOP, "tokenizer": tokenizer} if STOP else {}
        whole = model.generate(**batch, **stop)[:, batch["input_ids"].shape[1] :].tolist()
        for index, response in zip(part, whole, strict=True):
            end = next((at for at, token in enumerate(response) if token in ends), len(response))
            text = tokenizer.decode(
                response[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
            cut = min((at for at in map(text.find, STOP) if at >= 0), default=len(text))
            found[index] = text[:cut].removeprefix(BEFORE)
    return found


def evaluate(model: Any, tokenizer: Any) -> None:
    """Answer and score the test items; run/completions.jsonl, run/results.json."""
    items = rows("test.jsonl")
    texts = answers(model, tokenizer, items)
    lines = [
        json.dumps({**item, "response": text}, ensure_ascii=False) + "\n"
        for item, text in zip(items, texts, strict=True)
    ]
    (RUN / "completions.jsonl").write_text("".join(lines), encoding="utf-8")
    try:
        from scoring import score
    except ImportError:
        print("There is no scoring.py: score run/completions.jsonl with the task's own metric.")
        return
    judged = [score(item["reference"], text) for item, text in zip(items, texts, strict=True)]
    values = [float(one[PRIMARY]) for one in judged]
    results = {
        "score": statistics.fmean(values),
        "stderr": statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None,
        "n_items": len(values),
        **{name: statistics.fmean(float(one[name]) for one in judged) for name in judged[0]},
        "item_scores": values,
    }
    (RUN / "results.json").write_text(json.dumps(results, indent=1))
    print(f"score {results['score']:.4f} on {len(values)} items")


def words() -> Any:
    """The tokenizer, ending responses as the cell does."""
    where = {"revision": REVISION} if REVISION else {}
    tokenizer = AutoTokenizer.from_pretrained(model_name(), **where)
    tokenizer.eos_token = END  # what TRL ends a completion with
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return tokenizer


def main() -> None:
    """Train, answer, score."""
    RUN.mkdir(exist_ok=True)
    tokenizer = words()
    model = sft(tokenizer, SFT) if SFT else None
    model = prefer(tokenizer, PREFERENCE) if PREFERENCE else model
    if model is None:
        model = load().to("cuda" if ON_GPU else "cpu")
    evaluate(model, tokenizer)


if __name__ == "__main__":
    main()
