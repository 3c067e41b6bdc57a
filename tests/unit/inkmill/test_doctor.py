"""What `inkmill doctor` says of this machine's devices, whatever torch finds."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from contract.settings import Settings
from contract.spec import IN_GROUPS
from db.session.engine import open_database
from db.work.workers import register_worker
from inkmill import doctor


def devices(monkeypatch: pytest.MonkeyPatch, home: Path, gpus: list[str], chosen: str) -> dict[str, doctor.Finding]:
    """Its findings where torch finds these GPUs and INKMILL_DEVICE is `chosen`."""
    said = json.dumps({"cuda": gpus, "isa": "AVX512"}).encode()
    done = subprocess.CompletedProcess([], 0, stdout=said)
    monkeypatch.setattr(doctor, "installed", lambda name: "1.0")
    monkeypatch.setattr("inkmill.doctor.subprocess.run", lambda *words, **options: done)
    return {finding.what: finding for finding in doctor._device(Settings(home=home, device=chosen))}


@pytest.mark.parametrize(("gpus", "chosen"), [(["H200"], "auto"), (["H200"], "cpu"), ([], "cuda"), ([], "cuda:1")])
def test_doctor_says_that_the_code_for_gpus_was_not_run_on_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gpus: list[str], chosen: str
) -> None:
    found = devices(monkeypatch, tmp_path, gpus, chosen)
    assert found["gpu"].state == doctor.NOTE
    assert "has not been run on a GPU yet" in found["gpu"].detail
    assert found["gpu"].mend == "bench/on_a_gpu.sh"


def test_doctor_says_nothing_of_gpus_where_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert set(devices(monkeypatch, tmp_path, [], "auto")) == {"device"}


def test_doctor_names_the_workers_without_slots_and_says_why_and_what_is_not_promised(tmp_path: Path) -> None:
    config = Settings(home=tmp_path)
    assert list(doctor._workers(config)) == []
    database = open_database(config.sql_url)
    common = {"host": "quill", "dtype": "fp32", "device": "cpu", "classifiers": []}
    register_worker(database, "w1", pid=7, state="ready", model="demo", **common)
    register_worker(database, "w2", pid=8, state="ready", model="bloom", why_fallback="it has no slots", **common)
    register_worker(database, "w4", pid=10, state="ready", model="falcon", engine=IN_GROUPS,
                    why_fallback="its layers attend by themselves", **common)  # fmt: skip
    register_worker(database, "w3", pid=9, state="stopped", model="old", why_fallback="it had none", **common)
    database.close()
    found = {finding.what: finding for finding in doctor._workers(config)}
    assert "demo (process 7 on quill)" in found["workers"].detail and "old" not in found["workers"].detail
    said = {finding.detail for finding in doctor._workers(config) if finding.what == "slow worker"}
    assert said == {
        "process 8 on quill writes bloom one text at a time, because it has no slots",
        "process 10 on quill writes falcon in groups of texts, because its layers attend by themselves; that a text "
        "comes out the same in any company was tried when the model was loaded, and is not built in",
    }
