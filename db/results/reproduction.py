"""Reading stored outputs with everything it takes to make them again, and drawing a sample of a job's.

Knows no engine, and does not judge what comes out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nsmallest

from sqlalchemy import func, select

from contract.errors import NoSuchOutput
from contract.spec import PROVENANCE_FIELDS, Provenance, SamplingSettings
from db.jobs.jobs import get_job, stored_settings, used_settings
from db.models import Output, Prompt
from db.models import Provenance as ProvenanceTable
from db.session.dialect import CHUNK_IDS, id_chunks
from db.session.engine import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRecord:
    """One output as it was generated, whatever a person decided of it later."""

    id: int
    job_id: int
    prompt: str  # as the model was sent it
    chat: bool  # whether its chat template made it
    settings: SamplingSettings  # the job's, with the row's own laid over them
    seed: int  # the output's
    text: str
    finish_reason: str
    tokens: int
    mean_logprob: float | None
    made_by: Provenance


@dataclass(frozen=True, slots=True)
class Draw:
    """Some of a job's outputs, drawn at random."""

    ids: tuple[int, ...]  # ascending
    total: int  # outputs that the job has


def draw_outputs(database: Database, job_id: int, count: int, seed: int) -> Draw:
    """`count` of a job's outputs, or all where it has fewer. The same outputs and seed give the same draw.

    Raises:
        NoSuchJob: there is none with that id.
    """
    get_job(database, job_id)
    mine = Output.job_id == job_id
    with database.read() as connection:
        total = connection.scalar(select(func.count()).select_from(Output).where(mine)) or 0
        ids = connection.execute(select(Output.id).where(mine), execution_options={"yield_per": CHUNK_IDS})
        drawn = nsmallest(count, ids.scalars(), key=lambda output: _lot(seed, output))
    return Draw(tuple(sorted(drawn)), total)


def _lot(seed: int, output: int) -> bytes:
    """What an output draws; the smallest win. Unlike a generator's sample, it is the same in every Python."""
    return hashlib.blake2b(f"{seed} {output}".encode(), digest_size=16).digest()


def output_records(database: Database, ids: Sequence[int]) -> list[OutputRecord]:
    """The outputs with those ids, each once, in that order.

    Raises:
        NoSuchOutput: naming the ids that no output has.
    """
    wanted = list(dict.fromkeys(ids))
    records: dict[int, OutputRecord] = {}
    bases: dict[int, SamplingSettings] = {}
    for chunk in id_chunks(wanted):
        for record in _read(database, chunk, bases):
            records[record.id] = record
    missing = [number for number in wanted if number not in records]
    if missing:
        raise NoSuchOutput(*missing)
    return [records[number] for number in wanted]


def _read(database: Database, ids: Sequence[int], bases: dict[int, SamplingSettings]) -> list[OutputRecord]:
    """Those of the outputs that are there. `bases` gathers the settings of the jobs that are met on the way."""
    columns = ("id", "job_id", "seed", "text", "finish_reason", "tokens", "mean_logprob")
    query = (
        select(
            *(Output.__table__.c[name] for name in columns),
            *(Prompt.prompt, Prompt.sent, Prompt.settings, Output.fitted),
            *(ProvenanceTable.__table__.c[name] for name in PROVENANCE_FIELDS),
        )
        .join(Prompt, Prompt.id == Output.prompt_id)
        .join(ProvenanceTable, ProvenanceTable.id == Output.provenance_id)
        .where(Output.id.in_(ids))
    )
    with database.read() as connection:
        rows = connection.execute(query).all()
    for job_id in {row.job_id for row in rows} - bases.keys():
        bases[job_id] = get_job(database, job_id).settings
    return [
        OutputRecord(
            **{name: getattr(row, name) for name in columns},
            prompt=row.prompt if row.sent is None else row.sent,
            chat=row.sent is not None,
            settings=used_settings(stored_settings(bases[row.job_id], row.settings), row.fitted),
            made_by=Provenance(**{name: getattr(row, name) for name in PROVENANCE_FIELDS}),
        )
        for row in rows
    ]
