"""`models import`: a checkpoint of another program becomes a model of one's own, whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from contract.settings import Settings
from db.session.engine import open_database
from db.tuning.models import StoredModel, add_model, list_models
from inkmill.cli import run
from tests.unit.inkmill.conftest import Told
from worker.engine.load.checkpoint import in_folder

DATA = Path(__file__).parents[2] / "data" / "checkpoints"
Printed = Callable[..., Any]


@pytest.fixture
def printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> Printed:
    """Runs a command with --json. Returns what it printed."""

    def printing(*words: str) -> Any:
        assert run([*words, "--json"]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return printing


@pytest.fixture
def store(folder: Path) -> Path:
    return Settings().models_folder


def test_an_imported_model_is_listed_with_where_it_comes_from(printed: Printed, store: Path) -> None:
    made = printed("models", "import", str(DATA / "gpt-2-simple"), "--name", "tales")
    assert (made["model"], made["base"], made["corpus"]) == ("tales@1", None, [])
    assert made["source"] == str(DATA / "gpt-2-simple")
    assert made["revision"] == in_folder(store / "tales").revision()
    assert printed("models") == [made]
    shown = printed("models", "show", "tales")["settings"]
    assert shown["layout"] == "OpenAI's layout (TensorFlow)"
    weights = DATA / "gpt-2-simple" / "model-2.data-00000-of-00001"
    hashes = {file["name"]: file["sha256"] for file in shown["files"]}
    assert hashes[weights.name] == sha256(weights.read_bytes()).hexdigest()


def test_the_folder_alone_tells_its_way_back(printed: Printed, store: Path) -> None:
    made = printed("models", "import", str(DATA / "openai"), "--name", "tales")
    told = json.loads((store / "tales" / "inkmill.json").read_text())
    assert all(told[name] == made[name] for name in ("name", "version", "base", "revision", "source", "corpus"))
    card = (store / "tales" / "README.md").read_text()
    assert card.startswith("# tales@1\n") and str(DATA / "openai") in card
    assert all(file["sha256"] in card for file in told["settings"]["files"])


def test_a_name_that_is_there_gets_its_next_version(told: Told, store: Path) -> None:
    for source in ("openai", "shards"):
        told("models", "import", str(DATA / source), "--name", "tales")
    assert sorted(path.name for path in store.iterdir()) == ["tales", "tales@2"]
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in (store / "tales").iterdir())
    revisions = [in_folder(path).revision() for path in (store / "tales", store / "tales@2")]
    assert revisions[0] != revisions[1]


def test_a_version_that_only_the_folder_knows_is_not_taken(told: Told, store: Path) -> None:
    told("models", "import", str(DATA / "openai"), "--name", "tales")
    shutil.copytree(store / "tales", store / "tales@7")
    told("models", "import", str(DATA / "openai"), "--name", "tales")
    assert (store / "tales@8").is_dir()


@pytest.mark.parametrize("name", ["demo", "gpt2", "ann/tales", "tales@2", "../tales", ""])
def test_names_that_mean_something_else_are_refused(name: str, told: Told, store: Path) -> None:
    assert "--name: " in told("models", "import", str(DATA / "openai"), "--name", name, code=2)
    assert not store.exists()


def test_of_what_cannot_be_read_nothing_stays(told: Told, folder: Path, store: Path) -> None:
    source = Path(shutil.copytree(DATA / "openai", folder / "source"))
    weights = source / "model.ckpt.data-00000-of-00001"
    content = bytearray(weights.read_bytes())
    content[5000] ^= 1
    weights.write_bytes(content)
    said = told("models", "import", str(source), "--name", "tales", code=2)
    assert f"inkmill: {weights}: is damaged: the checksum of model/" in said
    assert list(store.iterdir()) == []
    assert "no models of your own" in told("models")


def test_where_the_database_refuses_nothing_stays(told: Told, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(database: object, new: object, place: Callable[[int], str], **_: object) -> None:
        assert Path(place(1)).is_dir()
        raise OSError("the disk is full")

    monkeypatch.setattr("inkmill.own_models.importing.add_model", refuse)
    assert "the disk is full" in told("models", "import", str(DATA / "openai"), "--name", "tales", code=1)
    assert list(store.iterdir()) == [] and list_models(open_database(Settings().sql_url)) == []


def test_what_a_killed_import_left_is_removed_and_what_is_at_work_is_not(told: Told, store: Path) -> None:
    abandoned, at_work = store / ".import-a", store / ".import-b"
    for left in (abandoned, at_work):
        left.mkdir(parents=True)
        (left / "model.safetensors").write_bytes(b"x")
    lock = os.open(at_work, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    told("models", "import", str(DATA / "openai"), "--name", "tales")
    os.close(lock)
    assert not abandoned.exists() and (at_work / "model.safetensors").is_file()


def test_a_folder_that_a_killed_process_left_at_the_last_moment_costs_no_model(
    told: Told, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*words: Any, **how: Any) -> StoredModel:
        shutil.copytree(DATA / "openai", store / "tales", dirs_exist_ok=True)
        return add_model(*words, **how)

    monkeypatch.setattr("inkmill.own_models.importing.add_model", late)
    told("models", "import", str(DATA / "openai"), "--name", "tales")
    assert (store / "tales@2" / "config.json").is_file()


def test_a_relative_folder_counts_from_here_and_stays_as_it_is(told: Told, folder: Path, store: Path) -> None:
    source = Path(shutil.copytree(DATA / "openai", folder / "124M"))
    before = {path: path.read_bytes() for path in source.iterdir()}
    assert "inkmill try --model tales" in told("models", "import", "124M", "--name", "tales")
    assert {path: path.read_bytes() for path in source.iterdir()} == before
    assert json.loads((store / "tales" / "inkmill.json").read_text())["source"] == str(source)


def test_an_imported_model_writes(told: Told, capsys: pytest.CaptureFixture[str]) -> None:
    told("models", "import", str(DATA / "openai"), "--name", "tales")
    told("try", "Hello", "--model", "tales", "--dtype", "fp32", "--max-new-tokens", "4", "--n", "1")
