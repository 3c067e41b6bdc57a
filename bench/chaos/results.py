"""What runs have found: a file of lines in git, and what docs/reliability.md shows of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.chaos.trial import Row

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("results.jsonl")
DOCUMENT = ROOT / "docs" / "reliability.md"
START, END = "<!-- chaos -->", "<!-- /chaos -->"
PRODUCT = ("common", "contract", "db", "producer", "review", "worker", "inkmill")
"""The rooms of the program: what a result is a result of."""
BENCH = ("bench/chaos", "bench/on_import.py", ":!bench/chaos/results.jsonl")
"""What found it: a row that was changed since has to run again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One row's run in the long form."""

    row: int
    database: str
    passed: bool
    failed: list[str]  # checks that did not hold
    checks: int
    figures: dict[str, Any]
    seed: int
    commit: str
    date: str
    seconds: float
    command: str


def commit() -> str:
    """The last commit that changed the program or this bench, with a + where they were changed since."""
    revision = _git("log", "-1", "--format=%h", "--", *PRODUCT, *BENCH)
    return revision + ("+" if _git("status", "--porcelain", "--", *PRODUCT, *BENCH) else "")


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def read() -> list[Result]:
    """Every result, the oldest first."""
    if not RESULTS.exists():
        return []
    return [Result(**json.loads(line)) for line in RESULTS.read_text().splitlines()]


def append(result: Result) -> None:
    with RESULTS.open("a") as file:
        file.write(json.dumps(asdict(result), ensure_ascii=False) + "\n")


def already_holds(results: Iterable[Result], row: int, database: str, at_commit: str) -> bool:
    """Whether a row held on a database at that commit. Of a tree that was changed since nobody knows what it was."""
    if at_commit.endswith("+"):
        return False
    return any((r.row, r.database, r.commit, r.passed) == (row, database, at_commit, True) for r in results)


def write_sections(rows: Sequence[Row], results: Sequence[Result]) -> None:
    """Puts the newest result of each row on each database between the two markers of the document."""
    newest = {(result.row, result.database): result for result in results}
    sections = [_section(row, newest) for row in sorted(rows, key=lambda row: row.number)]
    text = DOCUMENT.read_text()
    before, rest = text.split(START, 1)
    _, after = rest.split(END, 1)
    DOCUMENT.write_text(before + START + "\n" + "\n".join(sections) + END + after)


def _section(row: Row, newest: Mapping[tuple[int, str], Result]) -> str:
    note = f" ({row.note})" if row.note else ""
    lines = [f"**{row.number}.** {row.fault[0].upper()}{row.fault[1:]}{note}.", f"*Must hold:* {row.promise}.", ""]
    lines += [_line(database, newest.get((row.number, database))) for database in row.databases]
    return "\n".join(lines) + "\n"


def _line(database: str, result: Result | None) -> str:
    if result is None:
        return f"- {database}: not run"
    holds = "holds" if result.passed else "**does not hold**: " + "; ".join(result.failed)
    figures = "; ".join(f"{name} {_number(value)}" for name, value in result.figures.items())
    run = f"seed {result.seed}, {result.commit}, {result.date}, {result.seconds:.0f} s"
    return f"- {database}: {holds} ({run}). {figures}"


def _number(value: Any) -> str:
    return f"{value:,.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else f"{value}"
