"""Prompts that do not fit the model's window, through the real engine: what is stored makes the same text again."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select

from contract.failures import FailureCode
from db.jobs.retry import Retried, retry_job
from db.models import Output, Prompt
from db.results.reproduction import output_records
from tests.unit.worker.tasks.test_reading_ahead import run, runtime
from worker.engine.sequence import Completion, Request
from worker.runtime.runtime import Runtime

__all__ = ["runtime"]  # a fixture

WORDS = "The captain went down to the river. " * 40


def made_again(runtime: Runtime) -> list[bool]:
    """Whether each stored text comes again from what is stored of it."""
    with runtime.database.read() as connection:
        ids = list(connection.scalars(select(Output.id).order_by(Output.id)))
    records = output_records(runtime.database, ids)
    intake = runtime.feeder.intake()
    intake.add([Request(record.id, record.prompt, record.settings, record.seed) for record in records])
    found = {one.key: one.text for one in intake.results(patience=5) if isinstance(one, Completion)}
    return [found[record.id] == record.text for record in records]


def test_a_retry_with_on_too_long_writes_what_died_and_it_can_be_made_again(
    runtime: Runtime, submit: Callable[..., int]
) -> None:
    database = runtime.database
    job = submit("Once", WORDS, WORDS[:300], n=2, safety="none", max_new_tokens=250)
    run(runtime)
    with database.read() as connection:
        codes = connection.execute(select(Prompt.status, Prompt.code).order_by(Prompt.position)).all()
    assert [tuple(row) for row in codes] == [("done", None)] + [("dead", FailureCode.TOO_LONG)] * 2
    assert retry_job(database, job, settings={"on_too_long": "shorten"}) == Retried(2, 0)
    run(runtime)
    assert retry_job(database, job, settings={"on_too_long": "truncate-left"}) == Retried(1, 0)
    run(runtime)
    with database.read() as connection:
        query = select(Prompt.position, Prompt.status, Output.fitted).join(Output, Output.prompt_id == Prompt.id)
        rows = connection.execute(query.order_by(Prompt.position, Output.sample_index)).all()
    assert [(row.position, row.status) for row in rows] == [(place, "done") for place in (0, 0, 1, 1, 2, 2)]
    plain, cut, short = rows[0].fitted, rows[2].fitted, rows[4].fitted
    assert plain is None
    assert cut["max_new_tokens"] == 250 and cut["cut_tokens"] > 0
    assert short["cut_tokens"] == 0 and short["max_new_tokens"] < 250
    assert made_again(runtime) == [True] * 6
