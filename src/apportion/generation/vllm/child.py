"""The process that holds the engine: requests in, the ids of responses out, JSON lines both ways.

The engine lives in a process of its own because there only its end gives back all GPU memory:
deleting an `LLM` leaves some behind, and the next stage of the same worker trains.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

Send = Callable[[dict[str, Any]], None]

_WATCH_SECONDS = 0.5
_MEMORY = 0.9  # of what is free on the GPU when the engine starts


class Loaded:
    """An engine and the adapters that it was asked for."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """`settings`: the fields of `protocol.Settings`."""
        from vllm import LLM

        rank = settings.pop("max_lora_rank")
        # One adapter at a time: the cells of a study come one after the other.
        adapters = {"enable_lora": True, "max_lora_rank": rank, "max_loras": 1} if rank else {}
        self._llm = LLM(
            **settings,
            **adapters,
            seed=0,
            gpu_memory_utilization=_memory_share(),
            # What a cell answers must not depend on what was answered before it.
            enable_prefix_caching=False,
            # Nothing but what the request says decides how a response is sampled and ends.
            generation_config="vllm",
            load_format="safetensors",
            trust_remote_code=False,
        )

    def answer(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """The ids of each response, with the token that ended it, and why it ended."""
        from vllm import SamplingParams
        from vllm.lora.request import LoRARequest

        seeds = request["seeds"] or [None] * len(request["prompts"])
        params = [
            SamplingParams(
                temperature=request["temperature"],
                top_p=request["top_p"],
                max_tokens=request["max_tokens"],
                stop=request["stop"],
                stop_token_ids=request["stop_token_ids"],
                ignore_eos=True,  # what ends a response is told by `stop_token_ids` alone
                seed=seed,
            )
            for seed in seeds
        ]
        one = request["adapter"]
        adapter = None
        if one is not None:
            adapter = LoRARequest(f"cell-{one['number']}", one["number"], one["folder"])
        outputs = self._llm.generate(
            [{"prompt_token_ids": ids} for ids in request["prompts"]],
            params,
            use_tqdm=False,
            lora_request=adapter,
        )
        first = [output.outputs[0] for output in outputs]
        return [{"ids": list(one.token_ids), "finish": one.finish_reason} for one in first]


def _memory_share() -> float:
    """The part of the GPU's memory for the engine: of what the worker that asks leaves free."""
    import torch

    if not torch.cuda.is_available():
        return _MEMORY
    free, total = torch.cuda.mem_get_info()
    return _MEMORY * free / total


def serve(settings: dict[str, Any], lines: Iterable[str], send: Send) -> None:
    """Load the engine and answer request after request; errors are sent, and the next is read."""
    try:
        import vllm

        loaded = Loaded(settings)
    except Exception as error:
        send({"op": "failed", "problem": _words(error)})
        return
    send({"op": "ready", "version": str(vllm.__version__)})
    for line in lines:
        try:
            send({"op": "answers", "answers": loaded.answer(json.loads(line))})
        except Exception as error:
            send({"op": "error", "problem": _words(error)})


def _words(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def main(argv: list[str]) -> None:
    """Serve until the owner closes the pipe, or ends. `argv`: one JSON object."""
    told = json.loads(argv[0])
    _end_with(told["owner"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's to answer
    with os.fdopen(told["channel"], "w", encoding="utf-8") as channel:

        def send(message: dict[str, Any]) -> None:
            channel.write(json.dumps(message) + "\n")
            channel.flush()

        serve(told["settings"], sys.stdin, send)


def _end_with(owner: int) -> None:
    """End when the owner does, however that happens: GPU memory must not stay taken."""

    def watch() -> None:
        while os.getppid() == owner:
            time.sleep(_WATCH_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
