"""Claims a second, with several processes at once; every batch is claimed exactly once, or it is an error."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from bench.ingest import Address
from bench.load.jobs import submit
from bench.load.process_group import work_together
from bench.load.tables import Table
from contract.spec import BatchStatus
from db.session.engine import open_database
from db.work.claims import waiting_in_job

PROMPTS_IN_A_BATCH = 2


def measure(
    kind: str, address: Address, trees: dict[str, Path], claimants: list[int], batches: int, rounds: int
) -> None:
    """Prints claims a second and how long one takes, for each number of claimants, with and without hints."""
    table = Table(f"{kind}: {batches:,} batches claimed", "claimants", "claims/s", "ms: median", "p99", "longest")
    for count in claimants:
        for hinted in (False, True):
            name = f"{count}, {'each by its hint' if hinted else 'the oldest first'}"
            for _ in range(rounds):
                for tree, path in trees.items():
                    table.add(name, tree, *claimed(address(), path, count, batches, hinted=hinted))
    table.print()


def claimed(url: str, tree: Path, count: int, batches: int, *, hinted: bool) -> tuple[float, ...]:
    """Claims a second, and the milliseconds that one took: the median, the 99th of 100, the longest.

    Raises:
        RuntimeError: a batch was claimed twice, or never.
    """
    database = open_database(url)
    job = submit(database, batches * PROMPTS_IN_A_BATCH, PROMPTS_IN_A_BATCH, "none")
    ids = waiting_in_job(database, job, BatchStatus.PENDING, batches)
    database.close()
    hints = [[str(one) for one in ids[number::count]] if hinted else [] for number in range(count)]
    reports, seconds = work_together("bench.load.claimant", [[url, str(i), *hints[i]] for i in range(count)], tree)
    check(ids, [batch for report in reports for batch in report["claimed"]])
    waits = sorted(wait for report in reports for wait in report["milliseconds"])
    return batches / seconds, median(waits), waits[int(0.99 * (len(waits) - 1))], waits[-1]


def check(ids: list[int], claimed: list[int]) -> None:
    """Raises a RuntimeError where not each of these batches was claimed exactly once."""
    if sorted(claimed) != sorted(ids):
        once = len(set(claimed) & set(ids))
        raise RuntimeError(f"{len(ids):,} batches were there; {len(claimed):,} claims got {once:,} of them")
