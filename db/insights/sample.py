"""Which of a job's outputs figures are taken from: all of them, or runs of neighbours spread evenly over the job.

Knows how outputs are chosen, not what is counted in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import CTE, BigInteger, Connection, Select, func, literal, select

from db.models import Batch, Output

COMPLETE_UP_TO = 50_000
"""Jobs of at most so many outputs are counted in full."""
RUNS, RUN_WIDTH = 1250, 20
"""Larger ones: so many runs of neighbouring rows, so that reading them costs a thousandth of a job's pages.

A systematic sample of clusters (Cochran, Sampling Techniques, 3rd ed., chapters 8 and 9): every output is as likely to
be in it as any other, and every stretch of the night has its share.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What of a job is counted."""

    job_id: int
    total: int  # outputs the job has
    size: int  # outputs that are counted
    first: int  # the lowest id
    stride: int  # ids from one run to the next; 0 = every output is counted

    @property
    def complete(self) -> bool:
        return not self.stride

    @property
    def scale(self) -> float:
        """How many outputs of the job one counted output stands for."""
        return 1.0 if self.complete or not self.size else self.total / self.size

    def chosen(self, query: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
        """A query of `outputs` narrowed to this sample."""
        of_job = query.where(Output.job_id == self.job_id)
        return of_job if self.complete else of_job.where(Output.id.in_(self._ids()))

    def _ids(self) -> Select[*tuple[Any, ...]]:
        """Every id that the sample takes, one by one: ranges would leave the planner to guess how much lies in them."""
        number = numbers(RUNS * RUN_WIDTH).c.number
        run, place = number // RUN_WIDTH, number % RUN_WIDTH
        return select(self.first + run * self.stride + place)


def draw_sample(connection: Connection, job_id: int) -> Sample:
    """The sample of a job; the same one each time while nothing is added to it."""
    counted = func.coalesce(func.sum(Batch.generated), 0)
    total = int(connection.execute(select(counted).where(Batch.job_id == job_id)).scalar_one())
    if total <= COMPLETE_UP_TO:
        return Sample(job_id=job_id, total=total, size=total, first=0, stride=0)
    first, last = first_and_last_output(connection, job_id)
    stride = max((last - first + 1) // RUNS, RUN_WIDTH)
    sample = Sample(job_id=job_id, total=total, size=0, first=first, stride=stride)
    size = connection.execute(sample.chosen(select(func.count()).select_from(Output))).scalar_one()
    return Sample(job_id=job_id, total=total, size=size, first=first, stride=stride)


def first_and_last_output(connection: Connection, job_id: int) -> tuple[int, int]:
    """The ids of a job's first and last output; (0, -1) where it has none."""
    # Each by itself: as one aggregate, PostgreSQL would read all of the index.
    ends = [select(end(Output.id)).where(Output.job_id == job_id).scalar_subquery() for end in (func.min, func.max)]
    first, last = connection.execute(select(*ends)).one()
    return (0, -1) if first is None else (first, last)


def numbers(count: int) -> CTE:
    """The numbers from 0 on, so many, as a table of one column `number`."""
    table = select(literal(0, BigInteger).label("number")).cte("numbers", recursive=True)
    return table.union_all(select(table.c.number + 1).where(table.c.number < count - 1))
