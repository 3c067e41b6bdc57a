"""Decisions from the terminal, from a job to its approved export: the installed command, real processes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Home

THRESHOLD = ("--threshold", "0.02")  # so that the demonstration models' mild texts give work to decide


def exported(home: Home, *words: str) -> list[dict[str, Any]]:
    home.inkmill("export", "1", "-o", "some.jsonl", *words)
    return [json.loads(line) for line in (home.folder / "some.jsonl").read_text().splitlines()]


@pytest.fixture
def flagged(home: Home) -> list[int]:
    """A finished job of the demonstration models; the numbers of its outputs."""
    rows = [{"prompt": start, "n": 2, "max_new_tokens": 8} for start in ("The captain", "You", "At dawn")]
    (home.folder / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    home.inkmill("run", "p.jsonl", "--model", "demo", "--safety", "demo", "--seed", "5", *THRESHOLD, "-o", "all.jsonl")
    return [json.loads(line)["id"] for line in (home.folder / "all.jsonl").read_text().splitlines()]


def test_a_reviewer_decides_from_the_terminal(home: Home, flagged: list[int]) -> None:
    first, second, third, fourth, *_ = flagged
    refused = home.inkmill("export", "1", "-o", "none.jsonl", "--only", "approved", code=2)
    assert "none of them is approved" in refused.stderr and "--allow-empty" in refused.stderr
    assert not (home.folder / "none.jsonl").exists()
    home.inkmill("export", "1", "-o", "none.jsonl", "--only", "approved", "--allow-empty")

    done = home.inkmill("decide", str(first), str(second), "approve", "--reason", "fine", "--as", "anna", "--json")
    assert [(one["id"], one["to"], one["by"]) for one in json.loads(done.stdout)] == [
        (first, "approved", "anna"), (second, "approved", "anna"),
    ]  # fmt: skip
    (line, other) = exported(home, "--only", "approved")
    assert (line["id"], other["id"], line["review"]["reason"], line["review"]["by"]) == (first, second, "fine", "anna")

    lines = [
        {"id": third, "decision": "edit", "text": " a friendly sea", "reason": "=1+1"},
        {"id": fourth, "decision": "reject"},
    ]
    (home.folder / "d.jsonl").write_text("\n".join(map(json.dumps, lines)))
    said = home.inkmill("decide", "--from", "d.jsonl", "--as", "ben").stderr
    assert "1 waiting" in said and "1 rejected" in said and "once a worker has scored them" in said
    assert fourth not in [one["id"] for one in exported(home, "--only", "clean,approved")]

    # The stack that `run` started is alive for some seconds yet; if it is gone, another worker scores the edit.
    home.start("worker", "--model", "demo", "--safety", "demo")
    deadline = time.monotonic() + 120
    while third not in [one["id"] for one in exported(home, "--only", "approved")]:
        assert time.monotonic() < deadline, home.logs()
        time.sleep(1)
    (edited,) = [one for one in exported(home, "--only", "approved") if one["id"] == third]
    assert edited["text"] == " a friendly sea" and edited["scores"]
    assert edited["review"]["original_text"] and edited["review"]["decision"] == "edit"


def test_impossible_decisions_are_reported_line_by_line_and_nothing_is_stored(home: Home, flagged: list[int]) -> None:
    before = exported(home)
    bad = [
        {"id": flagged[0], "decision": "approve"},
        {"id": 99_999, "decision": "approve"},
        {"id": flagged[0], "decision": "reject"},
    ]
    path: Path = home.folder / "d.jsonl"
    path.write_text("\n".join(map(json.dumps, bad)))
    said = home.inkmill("decide", "--from", "d.jsonl", code=2).stderr
    assert "2 problems; nothing was decided" in said
    assert (
        "line 2: there is no output 99999" in said
        and f"line 3: output {flagged[0]} is already decided on line 1" in said
    )
    for words, why in (
        (["decide", "1", "2"], "end with approve or reject"),
        (["decide", "approve"], "name the outputs"),
        (["decide", "x", "approve"], "'x' is not an output number"),
        (["decide"], "end with approve or reject"),
        (["decide", "1", "approve", "--from", "d.jsonl"], "contains outputs"),
        (["decide", "1", "approve", "--as", " "], "is not a reviewer's name"),
        (["decide", "--from", "missing.jsonl"], "cannot be read"),
    ):
        assert why in home.inkmill(*words, code=2).stderr
    assert exported(home) == before
