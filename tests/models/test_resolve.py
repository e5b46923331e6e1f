from __future__ import annotations

import json
import shutil

import pytest

from apportion.errors import ModelError
from apportion.models import resolve
from apportion.models.resolve import resolve_model, tokenizer_digest, weights_digest
from apportion.models.template import load_tokenizer


@pytest.fixture
def folder(tmp_path, tiny_model_dir):
    return shutil.copytree(tiny_model_dir, tmp_path / "model")


def refused(name) -> ModelError:
    with pytest.raises(ModelError) as caught:
        resolve_model(str(name))
    assert caught.value.mend
    return caught.value


def test_a_directory_is_a_local_model(folder):
    ref = resolve_model(str(folder))
    assert (ref.kind, ref.path, ref.revision) == ("local", str(folder), None)


def test_an_embedded_model_is_found_by_name(tmp_path, monkeypatch, tiny_model_dir):
    shutil.copytree(tiny_model_dir, tmp_path / "mini")
    monkeypatch.setattr(resolve, "sandbox_assets", lambda: tmp_path)
    ref = resolve_model("sandbox:mini")
    assert (ref.kind, ref.path) == ("sandbox", str(tmp_path / "mini"))
    assert "sandbox:mini" in str(refused("sandbox:maxi").mend)


def test_a_hub_id_keeps_its_revision():
    ref = resolve_model("org/name@v1")
    assert (ref.kind, ref.path, ref.revision) == ("hub", "org/name", "v1")
    assert resolve_model("org/name").revision is None


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/dir", "a/b/c", "org/na me", "", "../up"])
def test_what_can_be_no_model_is_refused(name):
    refused(name)


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("config.json", "config.json"),
        ("tokenizer.json", "tokenizer"),
        ("model.safetensors", "weights"),
    ],
)
def test_an_incomplete_directory_is_refused(folder, missing, said):
    (folder / missing).unlink()
    assert said in refused(folder).problem


def test_pickled_weights_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    error = refused(folder)
    assert "pickle" in error.problem
    assert "safetensors" in error.mend


def test_an_adapter_is_not_a_model(folder):
    (folder / "config.json").rename(folder / "adapter_config.json")
    assert "adapter" in refused(folder).problem


def test_digests_follow_the_files_they_stand_for(folder):
    ref = resolve_model(str(folder))
    weights, tokens = weights_digest(ref), tokenizer_digest(ref)
    assert len(weights) == len(tokens) == 64

    def change(file, key, value):
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(content | {key: value}))

    change("tokenizer_config.json", "model_max_length", 99)
    assert weights_digest(ref) == weights
    assert tokenizer_digest(ref) != tokens
    change("config.json", "rms_norm_eps", 0.5)
    assert weights_digest(ref) != weights


def test_digests_do_not_depend_on_where_a_model_is(folder, tiny_model_dir):
    here, there = resolve_model(str(folder)), resolve_model(str(tiny_model_dir))
    assert weights_digest(here) == weights_digest(there)
    assert tokenizer_digest(here) == tokenizer_digest(there)


def test_a_hub_model_that_is_not_there_is_the_users_mistake(monkeypatch):
    def absent(*_, **__):
        raise OSError("no such repository")

    monkeypatch.setattr(resolve, "_commit", absent)
    with pytest.raises(ModelError, match="no such repository"):
        weights_digest(resolve_model("org/absent"))


def test_more_tokens_than_embeddings_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 257}))
    with pytest.raises(ModelError, match="258 tokens, its model only 257 embeddings"):
        load_tokenizer(resolve_model(str(folder)))
