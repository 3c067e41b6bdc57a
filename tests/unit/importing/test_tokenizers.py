"""The tokenizer that a user names for an imported model, wherever it lies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from contract.errors import ModelUnavailable, UsageError
from contract.settings import Settings
from tests.unit.engine.fake_hub import serving
from worker.demo import GPT2_DIR
from worker.importing.tokenizers import from_openai, given

TEXT = "The naïve harbour, 3 €\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INKMILL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("contract.model_kinds.own_model.settings", Settings)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def copied(folder: Path, *names: str) -> str:
    """Files of the demonstration model, in a folder of their own."""
    folder.mkdir()
    for name in names:
        shutil.copyfile(GPT2_DIR / name, folder / name)
    return str(folder)


@pytest.mark.parametrize(
    "files",
    [("tokenizer.json",), ("vocab.json", "merges.txt"), ("tokenizer.json", "tokenizer_config.json")],
)
def test_a_folder_needs_no_model_and_no_description(tmp_path: Path, files: tuple[str, ...]) -> None:
    tokens = given("demo").tokens(TEXT)
    assert given(copied(tmp_path / "found", *files)).tokens(TEXT) == tokens
    if len(files) == 1:
        assert given(str(tmp_path / "found" / files[0])).tokens(TEXT) == tokens


def test_a_model_of_ones_own_has_one(tmp_path: Path) -> None:
    shutil.copytree(GPT2_DIR, tmp_path / "home" / "models" / "tales")
    assert given("tales").tokens(TEXT) == given("demo").tokens(TEXT)


@pytest.mark.usefixtures("empty_cache")
def test_of_the_hub_the_tokenizer_alone_is_fetched_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving("someone/model", GPT2_DIR) as (address, asked):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        assert given("someone/model").tokens(TEXT) == given("demo").tokens(TEXT)
        assert not any("safetensors" in path for path in asked)
        before = len(asked)
        given("someone/model")
        assert len(asked) == before


@pytest.mark.usefixtures("empty_cache")
def test_what_cannot_be_had_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(ModelUnavailable, match="--tokenizer gpt2: gpt2 is not in the local cache, and"):
        given("gpt2")
    with pytest.raises(UsageError, match="--tokenizer no such: 'no such' is neither"):
        given("no such")
    with pytest.raises(UsageError, match="has no tokenizer"):
        given(copied(tmp_path / "none", "config.json"))
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(UsageError, match=r"broken\.json: is no tokenizer's file, or damaged"):
        given(str(tmp_path / "broken.json"))


def test_special_tokens_need_no_merge(tmp_path: Path) -> None:
    vocabulary = json.loads((GPT2_DIR / "vocab.json").read_text())
    (tmp_path / "encoder.json").write_text(json.dumps(vocabulary | {"[PAD]": 2048, "<|user|>": 2049}))
    tokenizer = from_openai(tmp_path / "encoder.json", GPT2_DIR / "merges.txt")
    assert len(tokenizer) == 2050 and tokenizer.tokens(TEXT) == given("demo").tokens(TEXT)
