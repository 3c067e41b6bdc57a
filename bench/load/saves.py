"""Outputs saved a second, by processes that do with the database what workers do, and no more."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from bench.ingest import Address
from bench.load.jobs import submit
from bench.load.process_group import work_together
from bench.load.tables import Table
from db.jobs.status import snapshot
from db.session.engine import open_database

BATCH_SIZE = 256
"""Prompts in a batch, as a user's job has them by default."""
GROUPS = (32, 256)
"""Saved at once: what a worker saves that computes, and what it saves of texts that came faster than it could save."""
CALLS = ("claim", "read the prompts", "save texts", "end", "read the texts", "save scores")


def measure(kind: str, address: Address, trees: dict[str, Path], savers: list[int], prompts: int, rounds: int) -> None:
    """Prints outputs saved a second for each number of savers, of texts alone and with their scores."""
    columns = ["outputs/s", *(f"{call}, ms an output" for call in CALLS)]
    table = Table(f"{kind}: {prompts:,} outputs saved", "saving processes", *columns)
    for scores, group, count in product(("none", "scores"), GROUPS, savers):
        name = f"{count}, {'texts and scores' if scores == 'scores' else 'texts alone'}, {group} at once"
        for _ in range(rounds):
            for tree, path in trees.items():
                table.add(name, tree, *saved(address(), path, prompts, [scores, str(group)], count))
    table.print()


def saved(url: str, tree: Path, prompts: int, words: list[str], count: int) -> tuple[float, ...]:
    """Outputs a second, then for each of `CALLS` the milliseconds that an output took of all processes together.

    Args:
        words: "scores" or "none", and how many are saved at once.

    Raises:
        RuntimeError: not all of it was saved and settled.
    """
    database = open_database(url)
    job = submit(database, prompts, BATCH_SIZE, "demo" if words[0] == "scores" else "none")
    database.close()
    reports, seconds = work_together("bench.load.saver", [[url, str(i), *words] for i in range(count)], tree)
    database = open_database(url)
    now = snapshot(database, job)
    database.close()
    if (now.status, now.done, now.settled) != ("completed", prompts, prompts):
        raise RuntimeError(f"the job is {now.status}: {now.done:,} prompts done, {now.settled:,} outputs settled")
    spent = [sum(report["spent"].get(call, 0.0) for report in reports) for call in CALLS]
    return prompts / seconds, *(1000 * each / prompts for each in spent)
