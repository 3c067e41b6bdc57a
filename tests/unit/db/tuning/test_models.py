"""Models of one's own in SQL: a version is one model's alone, and what needs one keeps it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from contract.errors import NoSuchModel, UsageError
from contract.spec import TuningStatus
from db.session.engine import Database
from db.tuning.claims import claim_tuning, release_tuning
from db.tuning.models import (
    NewModel,
    StoredModel,
    add_model,
    complete_tuning,
    find_model,
    list_models,
    needed_by,
    newest_version,
    outputs_made_with,
    remove_model,
)
from db.tuning.tunings import NewTuning, cancel_tuning, find_tuning, insert_tuning
from db.work.lease import LeaseLost
from tests.unit.db.mill import Mill

CORPUS = [{"name": "a.txt", "sha256": "ab" * 32, "documents": 3, "tokens": 90}]
TALES = NewModel(name="tales", base="demo", base_revision="d" * 16, revision="a" * 16, corpus=CORPUS)


def add(database: Database, new: NewModel = TALES, **how: Any) -> StoredModel:
    return add_model(database, new, lambda version: f"/models/{new.name}@{version}", **how)


def test_versions_count_up_and_none_is_given_twice(database: Database) -> None:
    first, second = add(database), add(database)
    assert (str(first), str(second), second.folder) == ("tales@1", "tales@2", "/models/tales@2")
    assert (first.corpus, first.settings, first.removed_at) == (CORPUS, {}, None)
    for _ in range(2):  # twice is once
        assert remove_model(database, "tales@2") == []
    assert str(add(database)) == "tales@3"
    assert str(add(database, after=lambda: 7)) == "tales@8"  # the store had more than SQL knew
    assert newest_version(database, "tales") == 8
    assert newest_version(database, "poems") == 0


def test_a_folder_that_a_killed_process_left_is_recorded_under_its_version(database: Database) -> None:
    assert str(add(database, version=4)) == "tales@4"
    with pytest.raises(UsageError, match="tales@4 is recorded already"):
        add(database, version=4)


def test_models_that_are_added_at_once_get_a_version_each(database: Database) -> None:
    with ThreadPoolExecutor(6) as several:
        added = list(several.map(lambda _: add(database), range(6)))
    assert sorted(one.version for one in added) == [1, 2, 3, 4, 5, 6]


def test_a_model_whose_folder_cannot_be_placed_is_not_recorded(database: Database) -> None:
    def fail(version: int) -> str:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        add_model(database, TALES, fail)
    assert list_models(database) == []
    assert str(add(database)) == "tales@1"


def test_a_model_is_found_by_name_and_by_version(database: Database) -> None:
    add(database), add(database)
    assert (find_model(database, "tales").version, find_model(database, "tales", 1).version) == (2, 1)
    remove_model(database, "tales@2")
    assert find_model(database, "tales").version == 1
    assert find_model(database, "tales", 2, removed=True).removed_at
    for unknown in (lambda: find_model(database, "tales", 2), lambda: find_model(database, "poems")):
        with pytest.raises(NoSuchModel):
            unknown()
    assert [str(one) for one in list_models(database)] == ["tales@1"]


def test_a_tuning_ends_with_its_model_in_one_go(database: Database) -> None:
    number = insert_tuning(database, NewTuning(name="tales", base="demo", order={}, folder="/x"))
    claim = claim_tuning(database, "w", "cpu", 3600)
    assert claim
    made = complete_tuning(database, claim, TALES, lambda version: f"/models/tales@{version}")
    over = find_tuning(database, number)
    assert (over.status, over.model, over.worker) == (TuningStatus.COMPLETED, "tales@1", None)
    assert over.finished_at
    assert find_model(database, "tales") == made
    assert made.tuning_id == number


def test_a_worker_that_lost_its_lease_places_no_model(database: Database) -> None:
    insert_tuning(database, NewTuning(name="tales", base="demo", order={}, folder="/x"))
    claim = claim_tuning(database, "w", "cpu", 3600)
    assert claim
    release_tuning(database, claim)
    placed: list[int] = []
    with pytest.raises(LeaseLost):
        complete_tuning(database, claim, TALES, lambda version: str(placed.append(version)))
    assert (placed, list_models(database)) == ([], [])


def test_jobs_and_tunings_that_are_not_over_need_their_model(database: Database) -> None:
    mill = Mill(database)
    job = mill.submit(2, model="tales@1")
    mill.submit(2, model="tales@2")
    tuning = insert_tuning(database, NewTuning(name="more", base="tales@1", order={}, folder="/x"))
    assert needed_by(database, "tales@1") == [f"job {job}", f"tuning t{tuning}"]
    cancel_tuning(database, tuning)
    assert needed_by(database, "tales@1") == [f"job {job}"]
    assert needed_by(database, "poems@1") == []
    assert str(add(database)) == "tales@1"
    aside: list[str] = []
    assert remove_model(database, "tales@1", lambda: aside.append("set aside")) == [f"job {job}"]
    assert (aside, [str(one) for one in list_models(database)]) == ([], ["tales@1"])


def test_a_model_whose_folder_cannot_be_set_aside_stays(database: Database) -> None:
    def fail() -> None:
        raise PermissionError(13, "Permission denied")

    add(database)
    with pytest.raises(PermissionError):
        remove_model(database, "tales@1", fail)
    assert [str(one) for one in list_models(database)] == ["tales@1"]


def test_the_outputs_of_a_model_are_counted(database: Database) -> None:
    mill = Mill(database)
    mill.submit(3, n=2)
    mill.work_off()
    assert (outputs_made_with(database, "demo"), outputs_made_with(database, "tales@1")) == (6, 0)


def test_a_folder_that_appears_while_a_version_is_waited_for_gets_another(database: Database) -> None:
    newest = [0, 1]  # its process was killed between its folder and its row
    assert str(add(database, after=lambda: newest.pop(0) if len(newest) > 1 else newest[0])) == "tales@2"
    assert [str(one) for one in list_models(database)] == ["tales@2"]


def test_a_version_of_a_folder_that_nobody_recorded_is_never_given_again(database: Database) -> None:
    for _ in range(2):  # as after a folder was put back by hand
        assert remove_model(database, "tales@1", unrecorded=TALES) == []
    assert (list_models(database), newest_version(database, "tales")) == ([], 1)
    assert str(add(database)) == "tales@2"
