"""Logs that run for months stay small, while others have them open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inkmill.local import log_files


def test_a_log_that_has_grown_is_cut_while_it_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "MAX_BYTES", 100)
    log, older = tmp_path / "stack.log", tmp_path / "stack.log.1"
    log_files.rotate(log)  # none is there yet
    with log.open("ab", buffering=0) as writer:
        writer.write(b"a" * 100)
        log_files.rotate(log)
        assert not older.exists()
        writer.write(b"b" * 50)
        log_files.rotate(log)
        writer.write(b"after")
    assert log.read_bytes() == b"after"
    assert older.read_bytes() == b"a" * 50 + b"b" * 50
    assert older.stat().st_mode & 0o777 == 0o600


def test_a_log_is_cut_where_no_copy_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "MAX_BYTES", 100)
    log = tmp_path / "stack.log"
    log.write_bytes(b"a" * 101)
    os.mkdir(tmp_path / "stack.log.1")
    log_files.rotate(log)
    assert log.read_bytes() == b""
