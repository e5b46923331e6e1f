"""A small stand-in for vLLM 0.19: the classes and arguments that are used, and what they refuse.

It answers with a transformers model on the CPU, a prompt at a time. Each engine that is loaded and
each request is a line of JSON in the file that STAND_IN_LOG names; STAND_IN_TROUBLE is what goes
wrong: `load`, `answer` or `die`.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vllm.lora.request import LoRARequest

__version__ = "0.19.1"

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
_SIXTEEN_BITS = ("float16", "bfloat16")


def _log(**content: Any) -> None:
    place = os.environ.get("STAND_IN_LOG")
    if place:
        with open(place, "a", encoding="utf-8") as file:
            file.write(json.dumps(content) + "\n")


@dataclass(kw_only=True)
class SamplingParams:
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    max_tokens: int = 16

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.max_tokens < 1:
            raise ValueError("out of range")


@dataclass
class CompletionOutput:
    text: str
    token_ids: list[int]
    finish_reason: str | None


@dataclass
class RequestOutput:
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]


class LLM:
    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        tokenizer: str | None = None,
        tokenizer_revision: str | None = None,
        trust_remote_code: bool = False,
        dtype: str = "auto",
        seed: int | None = None,
        gpu_memory_utilization: float = 0.9,
        max_model_len: int | None = None,
        max_num_seqs: int = 256,
        enable_prefix_caching: bool = True,
        generation_config: str = "auto",
        load_format: str = "auto",
        enable_lora: bool = False,
        max_lora_rank: int = 16,
        max_loras: int = 1,
    ) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        _log(engine=model, enable_lora=enable_lora, max_lora_rank=max_lora_rank, dtype=dtype)
        if os.environ.get("STAND_IN_TROUBLE") == "load":
            raise ValueError("Model architectures ['Odd'] are not supported for now.")
        if enable_lora and (dtype not in _SIXTEEN_BITS or max_lora_rank not in _RANKS):
            raise AssertionError("lora")
        self._load = lambda: AutoModelForCausalLM.from_pretrained(
            model, dtype=getattr(torch, dtype), use_safetensors=True
        ).eval()
        self._base = self._load()
        if max_model_len > self._base.config.max_position_embeddings:
            raise ValueError("max_model_len is larger than the model's own")
        self._tokenizer = AutoTokenizer.from_pretrained(tokenizer or model)
        self._rank = max_lora_rank if enable_lora else 0
        self._longest = max_model_len
        self._adapters: dict[int, tuple[str, Any]] = {}

    def generate(
        self,
        prompts: list[dict[str, list[int]]],
        sampling_params: list[SamplingParams],
        *,
        use_tqdm: bool = True,
        lora_request: LoRARequest | None = None,
    ) -> list[RequestOutput]:
        trouble = os.environ.get("STAND_IN_TROUBLE")
        _log(adapter=lora_request and lora_request.lora_path, seed=sampling_params[0].seed)
        if trouble == "answer":
            raise ValueError("no such adapter")
        if trouble == "die":
            print("CUDA out of memory", flush=True)
            os._exit(7)
        if len(prompts) != len(sampling_params):
            raise ValueError("lengths differ")
        model = self._base if lora_request is None else self._adapted(lora_request)
        return [
            RequestOutput(
                prompt["prompt_token_ids"], [self._one(model, prompt["prompt_token_ids"], params)]
            )
            for prompt, params in zip(prompts, sampling_params, strict=True)
        ]

    def _adapted(self, request: LoRARequest) -> Any:
        from peft import PeftModel

        config = json.loads((Path(request.lora_path) / "adapter_config.json").read_text())
        if config["r"] > self._rank or request.lora_int_id < 1:
            raise ValueError(f"LoRA rank {config['r']} is greater than max_lora_rank {self._rank}")
        known = self._adapters.get(request.lora_int_id)
        if known is None:  # as vLLM does: the number alone says which adapter it is
            model = PeftModel.from_pretrained(self._load(), request.lora_path).eval()
            known = self._adapters[request.lora_int_id] = (request.lora_path, model)
        return known[1]

    def _endings(self, params: SamplingParams) -> set[int]:
        own = set() if params.ignore_eos else {self._tokenizer.eos_token_id}
        return own | set(params.stop_token_ids or ())

    @torch.no_grad()
    def _one(self, model: Any, prompt: list[int], params: SamplingParams) -> CompletionOutput:
        draw = torch.Generator().manual_seed(params.seed or 0)
        new: list[int] = []
        finish = None
        while finish is None:
            logits = model(input_ids=torch.tensor([[*prompt, *new]])).logits[0, -1].float()
            if params.temperature == 0:
                new.append(int(logits.argmax()))
            else:
                odds = (logits / params.temperature).softmax(-1)
                new.append(int(torch.multinomial(odds, 1, generator=draw)))
            text = self._tokenizer.decode(new, skip_special_tokens=True)
            # in vLLM's order: the limit is looked at before what ends a response
            if len(new) >= params.max_tokens or len(prompt) + len(new) >= self._longest:
                finish = "length"
            elif new[-1] in (params.stop_token_ids or ()) or (
                not params.ignore_eos and new[-1] == self._tokenizer.eos_token_id
            ):
                finish = "stop"
            if any(stop in text for stop in params.stop or ()):
                finish = "stop"
        return CompletionOutput(text, new, finish)
