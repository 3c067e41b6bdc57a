"""Prompt files of the chaos bench: short texts of mixed settings, the same bytes for the same seed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

MODEL, SAFETY = "demo", "demo"
"""The toy model and classifier of worker/demo: the program's own engine runs them, in little time."""
TOKENS = (4, 6, 8)
"""New tokens of a text."""
SAMPLES = (1, 1, 2)
"""Outputs of a prompt: some have two, so that a fault may come between one and the other."""

MARKER = "Quillfeather"
"""A word of one opening, which no log may tell: it is a user's prompt."""
OPENINGS = ("The old captain", "At dawn the boats", "On market day", f"Dear Aunt {MARKER},", "To make the soup",
            "We reached", "")  # fmt: skip
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 0.7},
    {"top_p": 0.9},
    {"top_k": 5},
    {"repetition_penalty": 1.2},
    {"temperature": 0},
    {"stop": ["."]},
    {"seed": 7},
)


@dataclass(frozen=True, slots=True)
class PromptFile:
    """A file and the outputs it asks for."""

    path: Path
    outputs: Mapping[str, int]  # by custom_id

    @property
    def total(self) -> int:
        return sum(self.outputs.values())


def write_prompts(
    path: Path, count: int, random: Random, special: Mapping[int, str] | None = None, samples: tuple[int, ...] = SAMPLES
) -> PromptFile:
    """Writes `count` prompts.

    Args:
        special: prompts to write in the place of ordinary ones, by their number.
        samples: outputs of a prompt are drawn from these.
    """
    special, outputs = special or {}, {}
    with path.open("w") as file:
        for number in range(count):
            row = _row(number, random, samples)
            if number in special:
                row |= {"prompt": special[number]}
            outputs[row["custom_id"]] = row["n"]
            file.write(json.dumps(row) + "\n")
    return PromptFile(path, outputs)


def _row(number: int, random: Random, samples: tuple[int, ...]) -> dict[str, Any]:
    row = {
        "custom_id": f"p-{number}",
        "prompt": random.choice(OPENINGS),
        "n": random.choice(samples),
        "max_new_tokens": random.choice(TOKENS),
    } | random.choice(SETTINGS)
    return row | ({"n": 1} if row.get("temperature") == 0 else {})
