"""Whole numbers that nobody means: what takes one refuses them by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from inkmill.cli import run


@pytest.mark.parametrize("number", ["99999999999999999999", "-99999999999999999999"])
@pytest.mark.parametrize(
    "words",
    [
        "jobs --limit", "status --", "watch --", "export -o o.jsonl --", "reproduce --job 1 --sample",
        "reproduce --job 1 --seed", "reproduce --job", "reproduce --", "worker --threads", "web --port",
        "submit p.jsonl --seed", "submit p.jsonl --n", "submit p.jsonl --max-new-tokens", "try Once --top-k",
    ],
)  # fmt: skip
def test_a_number_that_is_far_too_large_or_small_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], words: str, number: str
) -> None:
    *_, option = words.split()
    assert run([*words.split(), number]) == 2
    said = capsys.readouterr().err
    assert option in said or (option == "--" and (f"JOB '{number}'" in said or f"OUTPUT '{number}'" in said))
