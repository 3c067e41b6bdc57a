"""`inkmill tune` up to the worker, and tunings on the command line: t1 in status, watch, cancel and retry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from contract.settings import Settings, settings
from contract.tunings.folder import is_here
from contract.waiting.stack_state import WantedWorker
from db.session.engine import Database, open_database
from db.tuning.claims import claim_tuning, fail_tuning
from db.tuning.tunings import fail_unclaimed, find_tuning, list_tunings
from db.tuning_models import Tuning
from inkmill.cli import run
from inkmill.local.stack import Stack
from inkmill.tuning.command import TuneCommand
from inkmill.tuning.fingerprint import folder_name

TALES = "\n<|endoftext|>\n".join(
    f"The captain sold {number} red kites in the harbour of the old town." for number in range(40)
)
TUNE = ("tune", "tales.txt", "--base", "demo", "--name", "tales", "--steps", "5", "--detach")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("INKMILL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TuneCommand, "_start_work", lambda *_: None)  # no stack: nobody trains here
    monkeypatch.setattr(Stack, "ensure_running", lambda *_: None)
    Path("tales.txt").write_text(TALES)
    settings.cache_clear()
    yield tmp_path / "home"
    settings.cache_clear()


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    found = open_database(Settings(home=home).sql_url)
    yield found
    found.close()


def test_a_corpus_becomes_a_tuning_and_the_same_again_takes_it_up(
    home: Path, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*TUNE]) == 0
    first = capsys.readouterr()
    assert first.out == "t1\n" and "40 documents" in first.err
    stored = find_tuning(database, "t1")
    assert is_here(Settings(home=home).models_folder, stored.folder)
    assert (stored.order["steps"], stored.base) == (5, "demo")
    assert run([*TUNE]) == 0
    assert "it is queued" in capsys.readouterr().err
    assert run([*TUNE, "--learning-rate", "1e-4"]) == 0, "another one"
    assert run([*TUNE, "--again"]) == 0
    Path("tales.txt").write_text(TALES + " It rained.")
    assert run([*TUNE]) == 0
    assert len(list_tunings(database)) == 4


def test_one_that_failed_goes_on_with_the_same_command(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    run([*TUNE])
    claim = claim_tuning(database, "w", "cpu", 60)
    assert claim is not None
    fail_tuning(database, claim, "the process was killed")
    capsys.readouterr()
    assert run(["watch", "t1"]) == 1
    assert "failed: the process was killed" in capsys.readouterr().out
    assert run([*TUNE]) == 0
    assert "goes on from its last checkpoint" in capsys.readouterr().err
    assert find_tuning(database, 1).status == "queued"


def test_status_cancel_and_retry_take_t1(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    run([*TUNE])
    capsys.readouterr()
    assert run(["status", "t1", "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["id"], status["kind"], status["status"], status["step"]) == ("t1", "tuning", "queued", None)
    assert "inkmill worker --only-tunings" in status["waiting_for"]
    assert run(["cancel", "t1"]) == 0
    assert run(["cancel", "t1"]) == 2
    assert run(["retry", "t1", "--any-worker"]) == 2
    assert run(["retry", "t1"]) == 0
    assert find_tuning(database, 1).status == "queued"
    assert run(["status", "t7"]) == 2
    assert "there is no tuning t7" in capsys.readouterr().err


def test_a_retry_starts_what_is_missing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    run([*TUNE, "--device", "cpu"])
    run(["cancel", "t1"])
    started: list[WantedWorker] = []
    monkeypatch.setattr(Stack, "ensure_running", lambda _, worker: started.append(worker))
    assert run(["retry", "t1"]) == 0
    assert started == [WantedWorker(model="", device="cpu")]


def test_a_tunings_number_is_found_in_the_terminal(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (TUNE, (*TUNE, "--again")):
        run([*words])
    fail_unclaimed(database, 1, "no base", owner=find_tuning(database, 1).owner)
    with database.write() as connection:
        connection.execute(update(Tuning).where(Tuning.id == 1).values(finished_at=1.0))  # long ago
    capsys.readouterr()
    assert run(["tunings", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(one["id"], one["kind"], one["status"]) for one in listed] == [
        ("t2", "tuning", "queued"), ("t1", "tuning", "failed"),
    ]  # fmt: skip
    assert listed[0]["waiting_for"] and not listed[1]["waiting_for"]
    assert run(["tunings"]) == 0
    said = capsys.readouterr().out
    assert "t1" in said and "t2" in said
    assert run(["jobs"]) == 0
    said = capsys.readouterr().out
    assert "t2" in said and "t1" not in said, "only what is under way or recent"
    assert run(["jobs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--name demo", "--name: demo is the demonstration model"),
        ("--name gpt2", "is a model of the Hub"),
        ("--name a/b", "written like a Hub id"),
        ("--name tales --steps 0", "--steps is 0"),
        ("--name tales --epochs 2 --steps 3", "--steps and epochs exclude each other"),
        ("--name tales --lora 0", "--lora is 0"),
        ("--name tales --dtype int8", "--dtype is 'int8'"),
        ("--name tales --device tpu", "--device tpu"),
        ("--name tales --base ./nowhere", "./nowhere"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(
    home: Path, capsys: pytest.CaptureFixture[str], words: str, told: str
) -> None:
    base = [] if "--base" in words else ["--base", "demo"]
    assert run(["tune", "tales.txt", *base, *words.split()]) == 2
    assert told in capsys.readouterr().err
    assert not (home / "models").exists()


def test_a_drawn_seed_tells_nothing_apart_and_a_given_one_does(home: Path) -> None:
    from contract.tunings.order import TuningOrder
    from producer.corpus.order import CorpusPath, PrepareOptions

    def name(seed: int, *, given: bool) -> str:
        order = TuningOrder(name="tales", base="demo", seed=seed)
        return folder_name(order, [CorpusPath("tales.txt")], PrepareOptions(), seed_was_given=given)

    assert name(1, given=False) == name(2, given=False)
    assert name(1, given=True) != name(2, given=True)
