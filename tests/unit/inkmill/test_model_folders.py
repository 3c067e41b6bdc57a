"""A folder that cannot be a model or a classifier is refused before anything is stored, in a worker's words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.errors import ModelUnavailable
from contract.settings import Settings
from db.jobs.status import snapshots
from db.session.engine import open_database
from inkmill.cli import run
from tests.unit.inkmill.conftest import Told
from worker.demo import GPT2_DIR
from worker.engine.load.checkpoint import find_checkpoint
from worker.safety.checkpoint import find_checkpoint as find_classifier

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 100\n"
Spoil = Callable[[Path], object]


@pytest.fixture
def model(folder: Path) -> Path:
    """A whole model in the working folder."""
    return Path(shutil.copytree(GPT2_DIR, folder / "model"))


def emptied(place: Path) -> None:
    for file in place.iterdir():
        file.unlink()


def only(name: str, content: bytes = b"x") -> Spoil:
    def spoil(place: Path) -> None:
        emptied(place)
        (place / name).write_bytes(content)

    return spoil


def adapter(described: object, weights: bytes = b"x") -> Spoil:
    def spoil(place: Path) -> None:
        only("adapter_config.json", json.dumps(described).encode())(place)
        (place / "adapter_model.safetensors").write_bytes(weights)

    return spoil


def without(*names: str) -> Spoil:
    return lambda place: [(place / name).unlink(missing_ok=True) for name in names]


def sharded(place: Path) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (place / "model.safetensors").rename(place / "model-00001-of-00002.safetensors")
    (place / "model.safetensors.index.json").write_text(json.dumps(index))


def nested(place: Path) -> None:
    shutil.copytree(place, place.parent / "aside")
    emptied(place)
    (place.parent / "aside").rename(place / "checkpoint-500")


UNUSABLE = [
    (without("tokenizer.json", "vocab.json"), "lacks the tokenizer", "save the tokenizer there"),
    (without("config.json"), "lacks config.json", "save the model there with save_pretrained()"),
    (without("model.safetensors"), "lacks model.safetensors", "save the model there"),
    (emptied, "lacks config.json, model.safetensors", "give another folder, a Hub id, or --model demo"),
    (only("adapter_config.json", b"{}"), "lacks adapter_model.safetensors", "save it there once more"),
    (only("adapter_model.safetensors"), "is part of an adapter", "give the folder that has both"),
    (adapter({}), "does not say which model the adapter belongs to", "as base_model_name_or_path"),
    (adapter({"base_model_name_or_path": "./gone"}), "belongs to another model", "there is no folder"),
    (adapter({"base_model_name_or_path": "."}), "holds an adapter itself", "merge that into its own base first"),
    (adapter({"base_model_name_or_path": "a/b/c"}), "neither a folder here nor a Hub id", "give a folder that exists"),
    (adapter({"base_model_name_or_path": "gpt2", "revision": ".."}), "'..' is no revision", "give a branch, a tag"),
    (adapter({"base_model_name_or_path": "gpt2", "task_type": "SEQ_CLS"}), "not for writing texts", "give another"),
    (adapter([]), "adapter_config.json is no JSON object", "once more"),
    (adapter({"base_model_name_or_path": "gpt2"}, b""), "it is empty", "fetch it once more"),
    (only("tiny.Q4_K_M.gguf"), "tiny.Q4_K_M.gguf in it is a model in llama.cpp's format", "give that file itself"),
    (only("tf_model.h5"), "made for another library than PyTorch", "save the model from PyTorch"),
    (only("ckpt.pt"), "bare checkpoint", "save_pretrained()"),
    (only("thesis.docx"), "lacks config.json", "give another folder"),
    (nested, "holds no model itself", "checkpoint-500 may be one; give that"),
    (sharded, "lacks model-00002-of-00002.safetensors", "save the model there"),
    (lambda place: (place / "config.json").write_text("{"), "config.json is no JSON", "once more"),
    (lambda place: (place / "config.json").write_text('{"name": "web"}'), "no model_type", "give another folder"),
    (lambda place: (place / "model.safetensors").write_bytes(POINTER), "Git LFS's pointer", "git lfs pull"),
    (lambda place: (place / "model.safetensors").write_bytes(b""), "it is empty", "fetch it once more"),
]


def stored_jobs() -> int:
    return len(snapshots(open_database(Settings().sql_url)))


@pytest.mark.parametrize(("spoil", "told_what", "way_out"), UNUSABLE)
def test_a_folder_that_cannot_be_a_model_is_refused_at_once_in_the_workers_words(
    told: Told, model: Path, spoil: Spoil, told_what: str, way_out: str
) -> None:
    spoil(model)
    said = told("submit", "p.jsonl", "--model", "./model", "--safety", "demo", code=2)
    assert told_what in said and way_out in said and str(model) in said and said.count("\n") == 1
    assert stored_jobs() == 0
    with pytest.raises(ModelUnavailable) as loading:
        find_checkpoint("./model")
    assert said == f"inkmill: {loading.value}\n"


@pytest.mark.parametrize("words", ["run p.jsonl --safety demo", "worker", "try Once"])
def test_every_command_that_takes_a_model_refuses_it_alike(told: Told, model: Path, words: str) -> None:
    without("config.json")(model)
    assert "lacks config.json" in told(*words.split(), "--model", "./model", code=2)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("./model/model.safetensors", "is a file; a model is a folder with config.json"),
        ("./tiny.gguf", "is no GGUF file"),
        ("tiny.gguf", "is no GGUF file"),
        ("whole.gguf", ""),
        ("gone.gguf", "there is no file"),
        ("whole-00001-of-00003.gguf", "one of several parts"),
        ("./adapter_config.json", "is part of an adapter"),
        ("./tiny.ggml", "llama.cpp's old format"),
        ("./nothing", "there is no folder"),
        ("models/own/tiny", "is neither a folder here nor a Hub id"),
        ("my model", "is neither a folder here nor a Hub id"),
        ("model/", ""),
        ("gone/", "is neither a folder here nor a Hub id"),
    ],
)
def test_what_is_no_folder_is_named(told: Told, model: Path, name: str, problem: str) -> None:
    for file in ("tiny.gguf", "adapter_config.json", "tiny.ggml"):
        Path(file).write_bytes(b"x")
    for file in ("whole.gguf", "whole-00001-of-00003.gguf"):
        Path(file).write_bytes(b"GGUF and more")
    said = told("submit", "p.jsonl", "--model", name, "--safety", "demo", code=2 if problem else 0)
    assert problem in said and stored_jobs() == (0 if problem else 1)
    if "Hub id" in problem:
        with pytest.raises(ModelUnavailable) as loading:
            find_checkpoint(name)
        assert said == f"inkmill: {loading.value}\n"


def test_a_hub_id_that_is_also_a_folder_here_is_noted(told: Told, model: Path) -> None:
    said = told("submit", "p.jsonl", "--model", "model", "--safety", "demo")
    assert "note: --model model is the Hub's model; for the folder of that name here give --model ./model" in said
    assert "is the Hub's" not in told("submit", "p.jsonl", "--model", "./model", "--safety", "demo")


def test_an_adapter_is_submitted_by_its_folder(told: Told, model: Path) -> None:
    adapter({"base_model_name_or_path": "gpt2", "revision": "main"})(model)
    told("submit", "p.jsonl", "--model", "./model", "--safety", "demo")
    assert "for the folder of that name here give --model ./model" in told("submit", "p.jsonl", "--model", "model")


def models() -> list[str]:
    return [job.model for job in snapshots(open_database(Settings().sql_url))]


def test_a_revision_becomes_part_of_the_models_name(told: Told, model: Path) -> None:
    said = told("submit", "p.jsonl", "--model", "someone/model", "--revision", "v1.0", "--safety", "demo")
    assert "model someone/model@v1.0" in said and "inkmill worker --model someone/model@v1.0" in said
    told("submit", "p.jsonl", "--model", "someone/model@v1.0", "--safety", "demo", code=2)  # the same job
    told("submit", "p.jsonl", "--model", "someone/model", "--safety", "demo")  # another one
    told("submit", "p.jsonl", "--revision", "refs/pr/1", "--safety", "demo")
    assert models() == ["gpt2@refs/pr/1", "someone/model", "someone/model@v1.0"]


def test_a_revision_is_that_of_the_model_that_a_file_names(told: Told, folder: Path) -> None:
    body = {"prompt": "Once", "model": "someone/model"}
    Path("r.jsonl").write_text(json.dumps({"custom_id": "1", "url": "/v1/completions", "body": body}))
    said = told("submit", "r.jsonl", "--revision", "v2", "--safety", "demo")
    assert models() == ["someone/model@v2"] and "wins over" not in said


@pytest.mark.parametrize(
    ("named", "revision", "problem"),
    [
        ("./model", "main", "is for models of the Hub"),
        ("demo", "main", "demo comes with Inkmill and has one revision only"),
        ("gpt2@v1", "v2", "names a revision already"),
        ("gpt2", "", "is no revision"),
        ("gpt2", "a b", "is no revision"),
        ("gpt2", "../main", "is no revision"),
    ],
)
@pytest.mark.parametrize("words", ["submit p.jsonl --safety demo", "run p.jsonl --safety demo", "worker", "try Once"])
def test_a_revision_that_a_model_cannot_have_is_refused(
    told: Told, model: Path, words: str, named: str, revision: str, problem: str
) -> None:
    said = told(*words.split(), "--model", named, "--revision", revision, code=2)
    assert problem in said and said.count("\n") == 1


def test_a_model_that_a_line_of_the_file_names_is_looked_at_too(told: Told, model: Path) -> None:
    without("config.json")(model)
    body = {"prompt": "Once", "model": "./model"}
    Path("r.jsonl").write_text(json.dumps({"custom_id": "1", "url": "/v1/completions", "body": body}))
    assert "lacks config.json" in told("submit", "r.jsonl", "--safety", "demo", code=2)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, "holds exactly one .ckpt or .pt file, here: none"),
        ({"a.ckpt": b"x", "b.pt": b"x"}, "here: a.ckpt, b.pt; give the file's own path"),
        ({"config.json": b"{}", "model.safetensors": b"x"}, "this is a model in transformers' layout"),
        ({"a.ckpt": POINTER}, "Git LFS's pointer"),
        ({"a.ckpt": b""}, "is empty"),
    ],
)
def test_a_folder_that_cannot_be_a_classifier_is_refused_at_once_in_the_workers_words(
    told: Told, folder: Path, files: dict[str, bytes], problem: str
) -> None:
    place = folder / "judge"
    place.mkdir()
    for name, content in files.items():
        (place / name).write_bytes(content)
    said = told("submit", "p.jsonl", "--model", "demo", "--safety", "./judge", code=2)
    assert problem in said and stored_jobs() == 0
    with pytest.raises(ModelUnavailable) as loading:
        find_classifier(str(place))
    assert said == f"inkmill: {loading.value}\n"


def test_a_whole_folder_is_taken_without_torch(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["submit", "p.jsonl", "--model", "./model", "--safety", "demo"]) == 0
