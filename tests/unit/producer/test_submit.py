"""What tells one submission from another."""

from __future__ import annotations

from pathlib import Path

from producer.readers import open_input
from producer.submit import Order, fingerprint

ORDER = Order(model="demo", default_model="gpt2", safety="demo")


def test_the_same_bytes_read_as_another_form_are_another_job(tmp_path: Path) -> None:
    found = set()
    for name in ("same.txt", "same.csv"):
        (tmp_path / name).write_text("prompt\nOnce\nTwice\n")
        with open_input(str(tmp_path / name)) as file:
            found.add(fingerprint(ORDER, file))
    assert len(found) == 2
