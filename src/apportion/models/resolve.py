"""Which model a name means, and the digests that stand for it. Light: no torch in here.

A name is, in this order: ``sandbox:<name>`` (an embedded model), the path of a local directory, or
a hub id ``org/name`` with an optional ``@revision``. Only safetensors weights are ever loaded.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, NoReturn

from apportion.errors import ModelError

SANDBOX = "sandbox:"
_HUB_ID = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*(?:@[\w./-]+)?")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)
_TOKENIZER_NEEDS_ONE_OF = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True)
class ModelRef:
    """A model that a name was resolved to; `path` is a directory, or the id of a hub model."""

    name: str
    path: str
    kind: Literal["sandbox", "local", "hub"]
    revision: str | None


def sandbox_assets() -> Path:
    """The directory that holds one directory per embedded model."""
    return Path(__file__).resolve().parent.parent / "sandbox" / "assets"


def resolve_model(name: str) -> ModelRef:
    """The model called `name`. The hub is not asked here: `weights_digest` does that.

    Raises ModelError for an unknown embedded model, a directory that lacks a config, a tokenizer
    or safetensors weights, and what can be neither a directory nor a hub id.
    """
    if name.startswith(SANDBOX):
        return _sandbox(name)
    if Path(name).is_dir():
        folder = Path(name).resolve()
        _check_folder(folder, name)
        return ModelRef(name=name, path=str(folder), kind="local", revision=None)
    looks_like_a_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    if looks_like_a_path or ".." in name or not _HUB_ID.fullmatch(name):
        raise ModelError(
            f"there is no model {name!r}: no such directory, and it is not a hub id.",
            field="models",
            mend="give `sandbox:<name>`, an existing directory, or a hub id `org/name[@revision]`.",
        )
    repo, _, revision = name.partition("@")
    return ModelRef(name=name, path=repo, kind="hub", revision=revision or None)


def _sandbox(name: str) -> ModelRef:
    assets = sandbox_assets()
    short = name.removeprefix(SANDBOX)
    folders = assets.iterdir() if assets.is_dir() else ()
    known = sorted(f.name for f in folders if (f / "config.json").is_file())
    if short not in known:
        raise ModelError(
            f"there is no embedded model {name!r}.",
            field="models",
            mend=f"use one of: {', '.join(SANDBOX + k for k in known) or 'none is installed'}.",
        )
    _check_folder(assets / short, name)
    return ModelRef(name=name, path=str(assets / short), kind="sandbox", revision=None)


def _check_folder(folder: Path, name: str) -> None:
    """ModelError unless `folder` holds a config, a tokenizer and safetensors weights."""

    def refuse(problem: str, mend: str) -> NoReturn:
        raise ModelError(f"model {name!r}: {problem}", file=folder, field="models", mend=mend)

    if not (folder / "config.json").is_file():
        adapter = (folder / "adapter_config.json").is_file()
        refuse(
            "the directory is an adapter, not a model."
            if adapter
            else "the directory has no config.json.",
            "name the adapter's base model, or merge the adapter into it first."
            if adapter
            else "give a directory written by `model.save_pretrained`.",
        )
    if not any((folder / file).is_file() for file in _TOKENIZER_NEEDS_ONE_OF):
        refuse("the directory has no tokenizer.", "save one there: `tokenizer.save_pretrained`.")
    _check_vocabulary(folder, refuse)
    if not any(folder.glob("*.safetensors")):
        if any(file for pattern in _PICKLES for file in folder.glob(pattern)):
            refuse(
                "its weights are pickled, and pickles run code when they are loaded.",
                "convert them: load the model where you trust it, then `model.save_pretrained`, "
                "which writes safetensors.",
            )
        refuse("the directory has no weights (*.safetensors).", "copy them there.")


def _check_vocabulary(folder: Path, refuse: Callable[[str, str], NoReturn]) -> None:
    """Refuse files that are not JSON, and a tokenizer with more tokens than the model knows."""
    found: dict[str, tuple[int, int | None]] = {}
    for name in ("config.json", "tokenizer.json"):
        file = folder / name
        if not file.is_file():
            return  # another kind of tokenizer: loading it will tell
        stat = file.stat()
        try:
            found[name] = _tokens(str(file), stat.st_size, stat.st_mtime_ns)
        except (ValueError, RecursionError, AttributeError, TypeError, KeyError):
            refuse(f"its {name} is damaged.", "copy it again, or save the model again.")
    tokens, rows = found["tokenizer.json"][0], found["config.json"][1]
    if rows is not None and tokens > rows:
        refuse(
            f"the tokenizer has {tokens} tokens, its model only {rows} embeddings.",
            "use the tokenizer that belongs to the model, or resize the embeddings.",
        )


@lru_cache(maxsize=64)
def _tokens(file: str, size: int, mtime_ns: int) -> tuple[int, int | None]:
    """(tokens of a tokenizer.json, embeddings of a config.json); 0 and None where it has none."""
    import json

    content = json.loads(Path(file).read_text(encoding="utf-8"))
    vocabulary = content.get("model", {}).get("vocab", {}) if "model" in content else {}
    added = [token["id"] for token in content.get("added_tokens", ())]
    tokens = max([len(vocabulary), *(one + 1 for one in added)])
    rows = content.get("vocab_size") or content.get("text_config", {}).get("vocab_size")
    return tokens, rows if isinstance(rows, int) else None


def weights_digest(ref: ModelRef) -> str:
    """What stands for the weights: the commit on the hub, else SHA-256 of weights and config."""
    if ref.kind == "hub":
        return hub_commit(ref)
    folder = Path(ref.path)
    files = [*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")]
    return _digest([*files, folder / "config.json"])


def tokenizer_digest(ref: ModelRef) -> str:
    """What stands for the tokenizer: the commit on the hub, else SHA-256 of its files."""
    if ref.kind == "hub":
        return hub_commit(ref)
    folder = Path(ref.path)
    return _digest(folder / file for file in _TOKENIZER_FILES if (folder / file).is_file())


def tokenizer_folder(ref: ModelRef) -> Path:
    """The folder with the tokenizer's files. The hub is asked where needed."""
    return Path(ref.path) if ref.kind != "hub" else _hub_small_files(ref.path, hub_commit(ref))


def chat_template_source(ref: ModelRef) -> str | None:
    """The chat template that comes with the tokenizer, or None. The hub is asked where needed."""
    import json

    folder = tokenizer_folder(ref)
    alone = folder / "chat_template.jinja"
    if alone.is_file():
        return alone.read_text(encoding="utf-8")
    for file in ("chat_template.json", "tokenizer_config.json"):
        if (folder / file).is_file():
            found = json.loads((folder / file).read_text(encoding="utf-8")).get("chat_template")
            if isinstance(found, list):  # several named ones, as Hermes has
                found = {row["name"]: row["template"] for row in found}.get("default")
            if found:
                return str(found)
    return None


def _digest(files: Iterable[Path]) -> str:
    total = hashlib.sha256()
    for file in sorted(files):
        stat = file.stat()
        total.update(file.name.encode() + b"\0")
        total.update(_file_digest(str(file), stat.st_size, stat.st_mtime_ns))
    return total.hexdigest()


@lru_cache(maxsize=1024)
def _file_digest(path: str, size: int, mtime_ns: int) -> bytes:
    """SHA-256 of a file; `size` and `mtime_ns` are there to notice that it was changed."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


@lru_cache(maxsize=64)
def _commit(repo: str, revision: str | None) -> str:
    """The commit of a hub model; where the hub is out of reach, that of the local copy."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        sha = HfApi().model_info(repo, revision=revision).sha
        if sha:
            return str(sha)
    except (RepositoryNotFoundError, HFValidationError):
        raise
    except Exception:  # noqa: S110 - offline or the hub is down: the local copy may do
        pass
    folder = snapshot_download(
        repo, revision=revision, local_files_only=True, allow_patterns=["config.json"]
    )
    return Path(folder).name


def hub_commit(ref: ModelRef) -> str:
    """The commit that `ref` means, asked once per process. ModelError where there is none."""
    try:
        return _commit(ref.path, ref.revision)
    except Exception as error:
        raise ModelError(
            f"the hub has no model {ref.name!r} that can be read: "
            f"{type(error).__name__}: {str(error).strip().splitlines()[0]}",
            field="models",
            mend="check the id, its revision and your access (`hf auth login`), or give a "
            "directory that holds the model.",
        ) from error


@lru_cache(maxsize=64)
def _hub_small_files(repo: str, commit: str) -> Path:
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(repo, revision=commit, allow_patterns=["config.json", *_TOKENIZER_FILES])
    )
