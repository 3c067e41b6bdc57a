"""Reading every row of a small database in a few statements, and emptying it between two runs."""

from __future__ import annotations

from sqlalchemy import and_, delete, event, select, text

from db.models import Base, Batch, Job, Output, Prompt, Provenance, Score
from db.review_models import Review
from db.session.engine import Database
from tests.unit.db.picture import BatchLine, JobLine, Lines, OutputLine, PromptLine

LONG_AGO = 2.0
"""Seconds since the epoch: a lease that ends before it was let run out by a test."""


def read_lines(database: Database) -> tuple[Lines, dict[tuple[int, int], int]]:
    """Every row as a line, and the texts' ids by prompt and sample."""
    with database.read() as connection:
        jobs = connection.execute(_JOBS).all()
        batches = connection.execute(_BATCHES).all()
        prompts = connection.execute(_PROMPTS).all()
        outputs = connection.execute(_OUTPUTS).all()
    lines = Lines(
        [JobLine(job.id, job.status, job.served_revision, job.finished_at is not None) for job in jobs],
        [BatchLine._make((*row[:5], (row.lease_until or LONG_AGO) < LONG_AGO, *row[6:])) for row in batches],
        [PromptLine(*row) for row in prompts],
        [OutputLine(*row[1:8], tuple(row.flag_reasons or ()), row.listed is not None) for row in outputs],
    )
    return lines, {(row.prompt_id, row.sample_index): row.id for row in outputs}


_JOBS = select(Job.id, Job.status, Job.served_revision, Job.finished_at).order_by(Job.id)
_BATCHES = select(
    Batch.id, Batch.job_id, Batch.status, Batch.worker, Batch.lease_token, Batch.lease_until, Batch.alone, Batch.deaths,
    Batch.expiries, *(Batch.__table__.c[name] for name in BatchLine._fields[9:]),
).order_by(Batch.id)  # fmt: skip
_PROMPTS = select(
    Prompt.id, Prompt.job_id, Prompt.batch_id, Prompt.position, Prompt.n, Prompt.status, Prompt.faults, Prompt.deaths,
    Prompt.reason,
).order_by(Prompt.id)  # fmt: skip
_OUTPUTS = (
    select(
        Output.id, Output.prompt_id, Output.sample_index, Output.text, Output.tokens, Output.safety,
        Output.score_faults, Score.toxicity, Output.flag_reasons, Review.output_id.label("listed"),
    )
    .outerjoin(Score, and_(Score.output_id == Output.id, Score.revision == 0))
    .outerjoin(Review, Review.output_id == Output.id)
    .order_by(Output.prompt_id, Output.sample_index)
)  # fmt: skip


def empty(database: Database) -> None:
    """Removes everything but what made texts: cheaper than a new database."""
    with database.write() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            if table.name != Provenance.__tablename__:
                connection.execute(delete(table))
        # SQLite's index keeps no texts and deletes no rows; it forgets them all at once.
        for words in ("review_words", "output_words"):
            forget = f"INSERT INTO {words} ({words}) VALUES ('delete-all')"
            connection.execute(text(forget if database.sqlite else f"DELETE FROM {words}"))


def hurry(database: Database) -> None:
    """SQLite's file need not survive a power cut either; PostgreSQL's server is told so where it starts."""
    if database.sqlite:
        database.engine.dispose()
        event.listen(database.engine, "connect", lambda raw, record: raw.execute("PRAGMA synchronous=OFF"))
