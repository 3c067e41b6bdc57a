"""What a home holds is its owner's alone, and no log of it tells what was to be written."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from contract.settings import Settings
from tests.acceptance.conftest import Home

MARKER = "Zanzibarbarian"
"""Stands in prompts, stop strings, metadata and ids, and in no message of ours."""


def open_to_others(folder: Path) -> list[str]:
    """What others may read, write or enter."""
    found = [folder, *folder.rglob("*")]
    return [str(path) for path in found if not path.is_symlink() and stat.S_IMODE(path.lstat().st_mode) & 0o077]


@pytest.mark.slow
def test_with_any_umask_a_home_is_private_and_its_logs_contain_no_prompt(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    home = Home(tmp_path / "work", environment={"INKMILL_HOME": str(tmp_path / "above" / "home")})
    rows = [
        {"prompt": f"{MARKER} one", "stop": [MARKER], "custom_id": MARKER, "metadata": {"a": MARKER}},
        {"prompt": f"{MARKER} two " * 2000, "custom_id": "too long for the model: dead"},
        {"prompt": f"{MARKER} three", "logit_bias": {"999999": 1}, "custom_id": "no such token: dead"},
        {"prompt": 7, "custom_id": f"{MARKER} bad"},
    ]
    (home.folder / "p.jsonl").write_text("".join(json.dumps(row | {"max_new_tokens": 8}) + "\n" for row in rows))
    before = os.umask(0)
    try:
        home.inkmill("run", "p.jsonl", "--skip-bad", "--model", "demo", "--safety", "demo", "-o", "out.jsonl", code=5)
        home.inkmill("export", "1", "-o", "out.csv")
        home.inkmill("report", "1", "-o", "out.html")
    finally:
        os.umask(before)
        home.close()
    made = tmp_path / "above" / "home"
    assert (made / "redis").is_dir() and (made / "logs").is_dir() and (made / "inkmill.db").exists()
    assert open_to_others(tmp_path / "above") == []
    written = [path for path in home.folder.iterdir() if path.name != "p.jsonl"]
    assert {"out.jsonl", "out.jsonl.errors.jsonl", "p.bad.jsonl", "out.csv", "out.html"} <= {
        path.name for path in written
    }
    assert [path.name for path in written if stat.S_IMODE(path.stat().st_mode) & 0o077] == []
    assert MARKER in (home.folder / "out.jsonl.errors.jsonl").read_text()
    logs = "".join(path.read_text(errors="replace") for path in made.rglob("*.log"))
    assert "prompts failed" in logs
    assert MARKER not in logs and Settings(home=made).redis_password not in logs
    assert MARKER.encode() not in b"".join(path.read_bytes() for path in (made / "redis").rglob("*") if path.is_file())
