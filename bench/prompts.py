"""A prompt file to measure with: the same bytes for the same number of rows, on every machine.

Knows no database and no clock.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import orjson

MIN_CHARACTERS, MAX_CHARACTERS = 40, 200  # characters of a prompt

OPENINGS = ("Once upon a time", "The night train", "Dear editor,", "In the year 1911", "“Nobody knows”, she said,",
            "A short review:", "Breaking news:", "My grandmother’s café")  # fmt: skip
WORDS = """
the a of and in with her his their small old bright river letter window city garden winter machine story walked opened
wrote remembered carried waited over under through before because until slowly again never always quiet morning harbour
teacher doctor engine bread silver paper question answer
"""
TOPICS = ("travel", "letters", "reviews", "news", "fiction")


def write_prompts(path: Path, rows: int) -> None:
    """Writes `rows` JSON lines: a custom_id and a prompt each, two settings on every 10th, metadata on every 4th."""
    random = Random(1911)
    story = " ".join(random.choices(WORDS.split(), k=200_000))
    with path.open("wb") as file:
        for number in range(rows):
            file.write(orjson.dumps(_row(random, story, number), option=orjson.OPT_APPEND_NEWLINE))


def _row(random: Random, story: str, number: int) -> dict[str, Any]:
    row: dict[str, Any] = {"custom_id": f"night-{number:08d}", "prompt": _prompt(random, story)}
    if not number % 10:
        row |= {"temperature": random.choice((0.7, 0.8, 0.9, 1.1)), "max_new_tokens": random.choice((32, 64, 128))}
    if not number % 4:
        row["metadata"] = {"topic": random.choice(TOPICS), "page": number // 40}
    return row


def _prompt(random: Random, story: str) -> str:
    opening, length = random.choice(OPENINGS), random.randint(MIN_CHARACTERS, MAX_CHARACTERS)
    start = random.randrange(len(story) - MAX_CHARACTERS)
    return f"{opening} {story[start : start + length - len(opening) - 1]}"
