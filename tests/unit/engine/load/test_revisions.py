"""A revision of a model of the Hub is a model of its own, named NAME@REV from the command line to the provenance."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_hub import serving
from tiny_models import make_gpt2, text_of

from contract.errors import ModelUnavailable
from worker.engine.load.checkpoint import find_checkpoint, in_folder
from worker.engine.load.loading import load_engine

Reach = Callable[[str], None]


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The same model after more training."""
    return make_gpt2(tmp_path / "newer", seed=1)


def test_each_revision_is_fetched_kept_and_named_by_itself(copy: Path, newer: Path, reach: Reach) -> None:
    with serving("someone/model", copy, v2=newer) as (address, _):
        reach(address)
        main, branch = find_checkpoint("someone/model"), find_checkpoint("someone/model@v2")
        commit = find_checkpoint(f"someone/model@{branch.folder.name}")  # whose files are there already
        with pytest.raises(ModelUnavailable, match="has no revision 'v3'; give one of its branches, tags or commits"):
            find_checkpoint("someone/model@v3")
    assert main.revision() == in_folder(copy).revision() != branch.revision()
    assert branch.revision() == in_folder(newer).revision() == commit.revision()
    loaded = load_engine("someone/model@v2", device="cpu", threads=2)  # the Hub is away
    assert (loaded.provenance.model, loaded.provenance.revision) == ("someone/model@v2", branch.revision())
    assert text_of(loaded.engine) == text_of(load_engine(str(newer), device="cpu", threads=2).engine)
    with pytest.raises(ModelUnavailable, match="someone/model@v1 is not in the local cache"):
        find_checkpoint("someone/model@v1")


@pytest.mark.parametrize("name", ["someone/model@", "gpt2@a b", "gpt2@../../x", "gpt2@-x", "demo@main", "@main"])
def test_what_can_be_no_revision_is_refused_without_asking(no_hub: Path, name: str) -> None:
    with pytest.raises(ModelUnavailable, match=r"no revision|one revision only|neither a folder here"):
        find_checkpoint(name)


def test_the_hubs_answer_that_a_model_is_nowhere_names_the_folder_here(
    no_hub: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy.parent)
    with pytest.raises(ModelUnavailable, match=r"cannot be reached.*the folder of that name here .*--model \./model"):
        find_checkpoint("model")


def test_a_repository_of_gguf_files_says_to_fetch_one(tmp_path: Path, reach: Reach) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for name in ("tiny.Q4_K_M.gguf", "tiny.Q8_0.gguf"):
        (files / name).write_bytes(b"GGUF")
    with serving("someone/tiny-GGUF", files) as (address, asked):
        reach(address)
        with pytest.raises(ModelUnavailable, match=r"hf download someone/tiny-GGUF tiny\.Q4_K_M\.gguf"):
            find_checkpoint("someone/tiny-GGUF")
    assert not any("resolve" in path for path in asked)


def test_an_adapter_of_the_hub_is_fetched_without_what_else_lies_there(
    checkpoint: Path, tmp_path: Path, reach: Reach
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(checkpoint)}))
    for name in ("adapter_model.safetensors", "optimizer.pt"):
        (files / name).write_bytes(b"x")
    with serving("someone/adapter", files) as (address, asked):
        reach(address)
        found = find_checkpoint("someone/adapter")
    assert found.weights == ("adapter_model.safetensors",)
    assert found.base == in_folder(checkpoint)
    assert not any("optimizer" in path for path in asked)
    assert find_checkpoint("someone/adapter") == found  # and the network is not asked again
