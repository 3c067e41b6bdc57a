"""`inkmill tune` up to the worker, and tunings on the command line: t1 in status, watch, cancel and retry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from contract.settings import Settings, settings
from contract.tunings.folder import CORPUS, is_here, tuning_folder
from contract.tunings.order import TuningOrder
from contract.waiting.stack_state import WantedWorker
from db.session.engine import Database, open_database
from db.tuning.claims import claim_tuning, fail_tuning
from db.tuning.models import NewModel, complete_tuning, remove_model
from db.tuning.tunings import StoredTuning, fail_unclaimed, find_tuning, list_tunings
from db.tuning_models import Tuning
from inkmill.cli import run
from inkmill.local.stack import Stack
from inkmill.tuning.command import TuneCommand
from inkmill.tuning.fingerprint import folder_name
from producer.corpus.order import CorpusPath, PrepareOptions
from tests.unit.producer.exports.conftest import Mill
from worker.demo import GPT2_DIR

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
    assert run([*TUNE, "--again"]) == 0, "there is nothing completed yet"
    Path("tales.txt").write_text(TALES + " It rained.")
    assert run([*TUNE]) == 0
    assert len(list_tunings(database)) == 3


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
    for words in (TUNE, (*TUNE, "--seed", "7")):  # another training
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
    def name(seed: int, *, given: bool) -> str:
        order = TuningOrder(name="tales", base="demo", seed=seed)
        return folder_name(order, [CorpusPath("tales.txt")], PrepareOptions(), seed_was_given=given)

    assert name(1, given=False) == name(2, given=False)
    assert name(1, given=True) != name(2, given=True)


def complete(database: Database, number: int = 1) -> str:
    """What a worker does in the end; returns the model's name."""
    claim = claim_tuning(database, "w", "cpu", 60, among=[number])
    assert claim is not None
    new = NewModel(name=claim.name, base=claim.base, base_revision="d" * 16, revision="a" * 16)
    return str(complete_tuning(database, claim, new, lambda version: f"/models/{version}"))


def test_again_goes_on_with_what_is_unfinished_and_makes_another_only_where_nothing_is(database: Database) -> None:
    run([*TUNE])
    complete(database)
    for _ in range(2):
        assert run([*TUNE, "--again"]) == 0
        assert [one.status for one in list_tunings(database)] == ["queued", "completed"]
        claim = claim_tuning(database, "w", "cpu", 60)
        assert claim is not None
        fail_tuning(database, claim, "the process was killed", "killed-worker")
    assert run([*TUNE, "--again"]) == 0
    complete(database, 2)
    assert run([*TUNE, "--again"]) == 0
    assert len(list_tunings(database)) == 3


def test_what_came_of_an_old_one_names_its_version_and_a_removed_one_is_said_to_be(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    run([*TUNE])
    complete(database)
    run([*TUNE, "--again"])
    assert complete(database, 2) == "tales@2"
    capsys.readouterr()
    assert run([*TUNE]) == 0
    assert " run prompts.jsonl --model tales@1\n" in capsys.readouterr().err
    remove_model(database, "tales@1")
    assert run([*TUNE]) == 1
    said = capsys.readouterr().err
    assert "made tales@1, which was removed" in said and "--again" in said and "--model" not in said


def test_how_to_go_on_is_said_by_the_tunings_name(
    database: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command would be another tuning, where the corpus came from standard input."""

    def fails(database: Database, number: int, check: object) -> StoredTuning:
        claim = claim_tuning(database, "w", "cpu", 60)
        assert claim is not None
        fail_tuning(database, claim, "the process was killed")
        return find_tuning(database, number)

    monkeypatch.setattr("inkmill.tuning.command.follow", fails)
    assert run([word for word in TUNE if word != "--detach"]) == 1
    said = capsys.readouterr().err
    assert "'inkmill retry t1'" in said and "'inkmill watch t1'" in said and "same command" not in said


def test_a_job_that_was_reviewed_further_is_another_corpus(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    mill = Mill(database)
    job = mill.mixed()
    words = ["tune", "--from-job", str(job), *TUNE[2:]]
    mill.decide("approve", 1)
    for _ in range(2):
        assert run(words) == 0
    assert len(list_tunings(database)) == 1
    mill.edit(2, " better")
    assert run(words) == 0
    assert len(list_tunings(database)) == 2
    mill.edit(2, " best")
    assert run(words) == 0
    assert len(list_tunings(database)) == 3
    capsys.readouterr()
    assert run(["tune", "--from-job", "9", *TUNE[2:]]) == 2
    assert "9" in capsys.readouterr().err and len(list_tunings(database)) == 3


def named(order: TuningOrder) -> str:
    return folder_name(order, [CorpusPath("tales.txt")], PrepareOptions(), seed_was_given=True)


def test_a_corpus_that_a_killed_command_left_is_prepared_anew(home: Path, database: Database) -> None:
    run([*TUNE])
    stored = find_tuning(database, 1)
    left = tuning_folder(Settings(home=home).models_folder, stored.folder) / CORPUS / "train.tokens"
    whole = left.read_bytes()
    left.write_bytes(bytes(len(whole)))
    with database.write() as connection:
        connection.exec_driver_sql("DELETE FROM tunings")
    assert run([*TUNE]) == 0
    assert left.read_bytes() == whole


def test_a_base_in_a_folder_that_was_replaced_is_another_base(home: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (base / name).write_text(name)
    order = TuningOrder(name="tales", base=str(base))
    before = named(order)
    (base / "README.md").write_text("A note.")
    assert named(order) == before
    (base / "model.safetensors").write_text("another")
    assert named(order) != before


def test_a_block_that_the_base_cannot_read_is_said_before_anything_is_stored(
    home: Path, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    positions = json.loads((GPT2_DIR / "config.json").read_bytes())["n_positions"]
    assert run([*TUNE, "--block", str(positions + 1)]) == 2
    assert f"the base model has {positions} positions" in capsys.readouterr().err
    assert not list_tunings(database) and not list((home / "models").rglob("corpus"))
    assert run([*TUNE, "--block", str(positions)]) == 0


def test_the_base_is_gpt2_whatever_jobs_are_written_with(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With INKMILL_MODEL=tales, each evening would teach what the evening before made."""
    asked: list[str] = []

    def notes(self: TuneCommand, *_: object, **__: object) -> int:
        asked.append(self._order.base)
        return 0

    monkeypatch.setenv("INKMILL_MODEL", "demo")
    monkeypatch.setattr(TuneCommand, "run", notes)
    assert run(["tune", "tales.txt", "--name", "tales"]) == 0
    assert run(["tune", "tales.txt", "--name", "tales", "--base", "demo"]) == 0
    assert asked == ["gpt2", "demo"]
