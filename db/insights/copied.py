"""How many of a job's texts copied from what their model was tuned with; of a large job, by a sample."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import case, func, select

from contract.text_flaws import LONG_RUN
from db.insights.sample import draw_sample
from db.models import Output
from db.session.engine import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedCounts:
    """A job's generated texts by their longest runs; edits are not looked at."""

    texts: int  # whose runs are known
    long_runs: int  # of those: LONG_RUN tokens or more
    longest: int
    exact: bool  # False = the counts are estimated from a sample, and `longest` is of that


def count_copied(database: Database, job_id: int) -> CopiedCounts | None:
    """The counts; None where no text's run is known, as of models that were not tuned here."""
    copied = Output.copied_tokens
    counts = select(func.count(copied), func.sum(case((copied >= LONG_RUN, 1), else_=0)), func.max(copied))
    with database.read() as connection:
        sample = draw_sample(connection, job_id)
        texts, long_runs, longest = connection.execute(sample.chosen(counts.select_from(Output))).one()
    if not texts:
        return None
    return CopiedCounts(
        texts=round(texts * sample.scale),
        long_runs=round(long_runs * sample.scale),
        longest=longest,
        exact=sample.complete,
    )
