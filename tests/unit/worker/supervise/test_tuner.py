"""A worker's parent that trains: claims, kills, cancels, ends, and the way of the model into the store.

The training process is a stand-in that trains nothing; all around it is real.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from contract.settings import Settings, settings
from contract.spec import TuningStatus
from contract.tunings.folder import tuning_folder
from contract.tunings.order import TuningOrder
from db.session.engine import Database, open_database
from db.tuning.claims import claim_tuning
from db.tuning.models import find_model
from db.tuning.progress import curve
from db.tuning.tunings import NewTuning, StoredTuning, cancel_tuning, find_tuning, insert_tuning, retry_tuning
from db.work.workers import list_workers
from worker.supervise import new_model
from worker.supervise import tuner as tuner_module
from worker.supervise.spawn import WorkerOptions
from worker.supervise.tuner import Tuner, likely_device

STUB = (sys.executable, "-IS", str(Path(__file__).with_name("stub_training.py")))
STEPS = 6
Make = Callable[..., Tuner]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("INKMILL_HOME", str(tmp_path))
    settings.cache_clear()
    yield Settings(home=tmp_path, lease_seconds=1, grace_seconds=5, step_seconds=1)
    settings.cache_clear()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = open_database(f"sqlite:///{tmp_path / 'inkmill.db'}")
    yield found
    found.close()


@pytest.fixture
def order(database: Database, config: Settings) -> Callable[..., Path]:
    """Stores a tuning whose training misbehaves as is said. Returns its folder."""

    def make(misbehave: str = "", steps: int = STEPS, name: str = "work", device: str = "cpu") -> Path:
        folder = tuning_folder(config.models_folder, name)
        (folder / "corpus").mkdir(parents=True)
        if misbehave:
            (folder / "misbehave").write_text(misbehave)
        wanted = TuningOrder(name="tales", base="demo", steps=steps).to_json()
        insert_tuning(database, NewTuning(name="tales", base="demo", device=device, order=wanted, folder=name))
        return folder

    return make


@pytest.fixture
def tuner(config: Settings) -> Make:
    def make(*, stopping: Callable[[], bool] = lambda: False, tend: Callable[[], object] = lambda: None) -> Tuner:
        options = WorkerOptions(model="demo", device="cpu")
        return Tuner(options, config, stopping=stopping, tend=tend, program=STUB)

    return make


def stands(database: Database) -> StoredTuning:
    return find_tuning(database, 1)


def when(met: Callable[[], bool], act: Callable[[], object]) -> Callable[[], None]:
    """Acts once, as soon as something is met."""
    left = [act]

    def look() -> None:
        if left and met():
            left.pop()()

    return look


def trained_a_step(database: Database) -> Callable[[], bool]:
    return lambda: bool((stands(database).progress or {}).get("step"))


@pytest.fixture(autouse=True)
def saves_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.supervise.attempt.SAVE_SECONDS", 0.0)
    monkeypatch.setattr("worker.supervise.attempt.LOOK_SECONDS", 0.02)
    monkeypatch.setattr("worker.supervise.attempt.TRY_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the stand-in leaves is no model that could be hashed."""
    monkeypatch.setattr(new_model, "revision_of", lambda folder: "0123456789abcdef")


def test_what_was_trained_gets_a_name_a_version_a_row_and_its_curves(
    database: Database, order: Callable[..., Path], tuner: Make, config: Settings
) -> None:
    folder = order()
    assert tuner().train_next(database)
    now, model = stands(database), find_model(database, "tales")
    assert (now.status, now.model, now.error) == (TuningStatus.COMPLETED, "tales@1", None)
    assert (model.perplexity_after, model.base_revision, model.tuning_id) == (40.0, "abc", 1)
    assert json.loads((config.models_folder / "tales" / "inkmill.json").read_text())["version"] == 1
    assert not folder.exists()
    points = curve(database, 1)
    assert [point.step for point in points if point.kind == "train"] == [1, 2, 3, 4, 5, 6]
    assert [point.step for point in points if point.kind == "samples"] == [2, 4, 6]
    assert now.progress is not None and now.progress["best_validation_loss"] == pytest.approx(3.9)


def test_the_next_one_of_that_name_is_another_version(
    database: Database, order: Callable[..., Path], tuner: Make, config: Settings
) -> None:
    (config.models_folder / "tales@2").mkdir(parents=True)  # which somebody copied here
    (config.models_folder / "tales@2" / "config.json").write_text("{}")
    order()
    tuner().train_next(database)
    assert stands(database).model == "tales@3"
    assert (config.models_folder / "tales@2" / "config.json").read_text() == "{}"


def test_a_killed_process_goes_on_from_its_last_checkpoint(
    database: Database, order: Callable[..., Path], tuner: Make
) -> None:
    order("die 3")
    parent = tuner()
    assert parent.train_next(database)
    assert (stands(database).status, stands(database).deaths) == (TuningStatus.QUEUED, 1)
    assert parent.train_next(database)
    now = stands(database)
    assert now.status == TuningStatus.COMPLETED and now.progress is not None
    assert [note["text"] for note in now.progress["notes"]] == ["begins", "goes on after step 2"]


def test_one_that_dies_again_and_again_without_getting_further_fails_with_a_reason(
    database: Database, order: Callable[..., Path], tuner: Make
) -> None:
    order("die-always 3")
    parent = tuner()
    for _ in range(20):
        if not parent.train_next(database):
            break
    now = stands(database)
    assert now.status == TuningStatus.FAILED
    assert now.error is not None and "was killed by SIGKILL" in now.error


def test_a_hanging_process_is_killed_and_counts_as_a_death(
    database: Database, order: Callable[..., Path], tuner: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.supervise.attempt.HANG_STEPS", 1)
    order("hang 3")
    tuner().train_next(database)
    assert (stands(database).status, stands(database).deaths) == (TuningStatus.QUEUED, 1)


def test_a_full_disk_pauses_and_a_retry_goes_on(database: Database, order: Callable[..., Path], tuner: Make) -> None:
    order("full 3")
    parent = tuner()
    parent.train_next(database)
    now = stands(database)
    assert (now.status, now.code) == (TuningStatus.PAUSED, "disk_full")
    assert now.error == "no space left on device; make room, and start it again: inkmill retry t1"
    assert not parent.train_next(database)
    retry_tuning(database, 1)
    parent.train_next(database)
    assert stands(database).status == TuningStatus.COMPLETED


def refusing(number: int) -> Callable[..., None]:
    """A system call that fails with an error of that number."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize(("where", "number"), [("tuner", errno.ENOSPC), ("new_model", errno.EDQUOT)])
def test_a_full_disk_in_the_parent_pauses_and_a_retry_goes_on(
    database: Database,
    order: Callable[..., Path],
    tuner: Make,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    number: int,
) -> None:
    order()
    parent = tuner()
    with monkeypatch.context() as full:
        full.setattr(f"worker.supervise.{where}.write_private", refusing(number))
        parent.train_next(database)
    now = stands(database)
    assert (now.status, now.code, now.model) == (TuningStatus.PAUSED, "disk_full", None)
    assert now.error is not None and os.strerror(number) in now.error and "inkmill retry t1" in now.error
    retry_tuning(database, 1)
    parent.train_next(database)
    assert stands(database).model == "tales@1"


@pytest.mark.parametrize("where", ["tuner", "new_model"])
def test_what_the_system_refuses_again_and_again_fails_with_its_reason(
    database: Database, order: Callable[..., Path], tuner: Make, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    order()
    monkeypatch.setattr(f"worker.supervise.{where}.write_private", refusing(errno.EIO))
    tuner().train_next(database)
    now = stands(database)
    assert now.status == TuningStatus.FAILED
    assert now.error is not None and os.strerror(errno.EIO) in now.error


def test_what_the_system_refuses_once_is_tried_again(
    database: Database, order: Callable[..., Path], tuner: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    order()
    left = [errno.EAGAIN, errno.EIO]
    for where in (tuner_module, new_model):
        write = where.write_private

        def once(*words: Any, write: Any = write) -> None:
            if left:
                refusing(left.pop())()
            write(*words)

        monkeypatch.setattr(where, "write_private", once)
    tuner().train_next(database)
    assert (stands(database).status, left) == (TuningStatus.COMPLETED, [])


def test_a_folder_that_a_killed_process_left_at_the_last_moment_costs_no_model(
    database: Database, order: Callable[..., Path], tuner: Make, config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    order()
    complete = new_model.complete_tuning

    def late(*words: Any, **how: Any) -> Any:
        (config.models_folder / "tales").mkdir(exist_ok=True)
        (config.models_folder / "tales" / "config.json").write_text("{}")
        return complete(*words, **how)

    monkeypatch.setattr(new_model, "complete_tuning", late)
    tuner().train_next(database)
    assert (stands(database).status, stands(database).model) == (TuningStatus.COMPLETED, "tales@2")


@pytest.mark.parametrize(("misbehave", "code"), [("fail 3", "bad_corpus"), ("unreachable 0", "unreachable")])
def test_an_error_ends_it_in_the_words_of_the_process(
    database: Database, order: Callable[..., Path], tuner: Make, misbehave: str, code: str
) -> None:
    order(misbehave)
    tuner().train_next(database)
    now = stands(database)
    assert (now.status, now.code, bool(now.error)) == (TuningStatus.FAILED, code, True)


def test_one_that_began_on_another_kind_of_device_is_left_to_others_and_never_fails(
    database: Database, order: Callable[..., Path], tuner: Make
) -> None:
    order("elsewhere 0", device="auto")
    parent = tuner()
    assert parent.train_next(database)
    now = stands(database)
    assert (now.status, now.device, now.worker, now.error) == (TuningStatus.QUEUED, "cuda", None, None)
    assert now.progress is not None and "began on cuda" in now.progress["notes"][-1]["text"]
    assert not parent.train_next(database)
    assert claim_tuning(database, "another", "cuda:0", 60) is not None


def test_a_worker_that_was_told_no_device_goes_on_with_what_began_on_a_cpu(
    database: Database, order: Callable[..., Path], config: Settings
) -> None:
    order(device="cpu")
    worker = Tuner(WorkerOptions(model=""), config, stopping=lambda: False, tend=lambda: None, program=STUB)
    worker.device = "cuda"
    assert worker.train_next(database)
    assert stands(database).status == TuningStatus.COMPLETED


def test_hidden_gpus_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.supervise.tuner.GPU_DEVICES", ("/dev/null",))
    assert likely_device() == "cuda"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert likely_device() == "cpu"


def test_where_any_device_would_do_the_one_that_it_began_on_is_kept(
    database: Database, order: Callable[..., Path], tuner: Make
) -> None:
    order("die 3", device="auto")
    tuner().train_next(database)
    assert (stands(database).status, stands(database).device) == (TuningStatus.QUEUED, "cpu")


def test_a_cancelled_one_ends_with_a_checkpoint_and_a_retry_goes_on(
    database: Database, order: Callable[..., Path], tuner: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = order(steps=1000)
    tuner(tend=when(trained_a_step(database), lambda: cancel_tuning(database, 1))).train_next(database)
    assert stands(database).status == TuningStatus.CANCELLED
    saved = list((folder / "checkpoints").glob("checkpoint-*"))
    assert saved


def test_a_worker_that_is_told_to_stop_gives_it_back_with_a_checkpoint(
    database: Database, order: Callable[..., Path], tuner: Make
) -> None:
    folder = order(steps=1000)
    told = threading.Event()
    tuner(stopping=told.is_set, tend=when(trained_a_step(database), told.set)).train_next(database)
    now = stands(database)
    assert (now.status, now.worker, now.deaths) == (TuningStatus.QUEUED, None, 0)
    assert list((folder / "checkpoints").glob("checkpoint-*"))


def test_a_lost_lease_ends_the_process_and_saves_nothing_more(
    database: Database, order: Callable[..., Path], tuner: Make
) -> None:
    order(steps=1000)

    def takes_over() -> None:
        retaken = claim_after_expiry(database)
        assert retaken is not None

    tuner(tend=when(trained_a_step(database), takes_over)).train_next(database)
    now = stands(database)
    assert (now.status, now.worker) == (TuningStatus.RUNNING, "another")


def claim_after_expiry(database: Database) -> object:
    """Another worker takes it, as after a long silence of the first."""
    from sqlalchemy import update

    from db.tuning.claims import sweep_tunings
    from db.tuning_models import Tuning

    with database.write() as connection:
        connection.execute(update(Tuning).values(lease_until=0))
    sweep_tunings(database)
    return claim_tuning(database, "another", "cpu", 60)


@pytest.mark.parametrize("moved", [False, True])
def test_a_kill_between_the_folder_and_its_row_loses_no_model_and_makes_no_second_one(
    database: Database, order: Callable[..., Path], tuner: Make, config: Settings, monkeypatch: pytest.MonkeyPatch,
    moved: bool,
) -> None:  # fmt: skip
    class Killed(BaseException):
        pass

    def dies(self: Path, target: Path) -> None:
        if moved:
            copytree(self, target)
            for file in self.iterdir():
                file.unlink()
            self.rmdir()
        raise Killed

    order()
    parent = tuner()
    with monkeypatch.context() as dying:
        dying.setattr(Path, "rename", dies)
        with pytest.raises(Killed):
            parent.train_next(database)
    assert stands(database).model is None
    time.sleep(config.lease_seconds + 0.1)
    assert parent.train_next(database)
    assert stands(database).model == "tales@1"
    assert [path.name for path in config.models_folder.iterdir() if not path.name.startswith(".")] == ["tales"]


def test_a_tuning_whose_folder_is_elsewhere_is_refused_with_that_reason(
    database: Database, order: Callable[..., Path], tuner: Make, config: Settings
) -> None:
    order()
    elsewhere = config.models_folder.rename(config.home / "elsewhere")
    assert not tuner().train_next(database)
    assert stands(database).status == TuningStatus.QUEUED
    elsewhere.rename(config.models_folder)
    assert tuner().train_next(database)


def test_while_it_trains_others_see_a_worker_that_trains(
    database: Database, order: Callable[..., Path], tuner: Make
) -> None:
    order(steps=30)
    seen: list[str] = []
    look = when(trained_a_step(database), lambda: seen.append(list_workers(database)[0].state))
    tuner(tend=look).train_next(database)
    assert seen == ["tuning"] and list_workers(database)[0].state == "stopped"


def test_a_worker_that_another_one_outruns_does_not_look_as_if_it_trained(
    database: Database, order: Callable[..., Path], tuner: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    order()
    look = tuner_module.tunings_here

    def outrun(*words: Any) -> list[int]:
        found = look(*words)
        claim_tuning(database, "another", "cpu", 60)
        return found

    monkeypatch.setattr(tuner_module, "tunings_here", outrun)
    assert not tuner().train_next(database)
    assert [worker.state for worker in list_workers(database)] == ["stopped"]


def test_a_worker_without_a_model_says_what_it_refuses(
    database: Database, order: Callable[..., Path], config: Settings
) -> None:
    order()
    config.models_folder.rename(config.home / "elsewhere")
    options = WorkerOptions(model="", device="cpu")
    Tuner(options, config, stopping=lambda: False, tend=lambda: None, program=STUB).train_next(database)
    (worker,) = list_workers(database)
    assert worker.error is not None and worker.error.startswith("cannot take t1: ")
