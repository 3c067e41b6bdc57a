"""A job's texts as a corpus to train with: what was asked, the text that stands, and the decision that made it so."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Text, cast, or_, select

from contract.spec import Messages
from db.jobs.jobs import JobRow
from db.models import Output, Prompt
from db.results.export_rows import SELECTIONS, reading_judged_results
from db.review_models import Decision, Review
from db.session.engine import Database
from db.standing import REVISION, standing_edit, standing_text


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusRow:
    """One output. An edit's text stands in place of the generated one."""

    output: int
    revision: int  # of the text: 0 as generated, k the k-th edit
    decision: int | None  # the one that stands
    prompt: str
    messages: Messages | None
    text: str


def corpus_rows(database: Database, job: JobRow, only: Sequence[str]) -> Iterator[CorpusRow]:
    """A job's outputs as they were when the first of them was read, in the order of an export.

    Args:
        only: names of `SELECTIONS`; an output that any of them takes is given.
    """
    query = (
        select(Output.id, REVISION, Review.decision_id, Prompt.prompt, cast(Prompt.messages, Text), standing_text())
        .join(Prompt, Prompt.id == Output.prompt_id)
        .outerjoin(Review, Review.output_id == Output.id)
        .outerjoin(Decision, standing_edit())
        .where(Prompt.job_id == job.id, or_(*(SELECTIONS[name] for name in only)))
        .order_by(Prompt.position, Output.sample_index)
    )
    with reading_judged_results(database, job) as results:
        for output, revision, decision, prompt, messages, text in results.by_position(query):
            yield CorpusRow(
                output=output, revision=revision, decision=decision, prompt=prompt,
                messages=None if messages is None else orjson.loads(messages), text=text,
            )  # fmt: skip


def selection_digest(database: Database, job: JobRow, only: Sequence[str]) -> str:
    """SHA-256 of which outputs `corpus_rows` would give now, each with its revision and its decision: it changes with
    every review that changes them.

    Args:
        only: names of `SELECTIONS`.
    """
    columns: list[Any] = [Output.id, REVISION, Review.decision_id]
    query = (
        select(*columns)
        .join(Prompt, Prompt.id == Output.prompt_id)
        .outerjoin(Review, Review.output_id == Output.id)
        .where(Prompt.job_id == job.id, or_(*(SELECTIONS[name] for name in only)))
        .order_by(Prompt.position, Output.sample_index)
    )
    digest = hashlib.sha256()
    with reading_judged_results(database, job) as results:
        for output, revision, decision in results.by_position(query):
            digest.update(f"{output} {revision} {decision}\n".encode())
    return digest.hexdigest()
