"""What another flag policy would change, before it is applied: whoever asks for it sees which flags it takes off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from contract.policy import BLOCKLIST
from db.flagging import BlocklistMatches, match_blocklists, reasons_of, standing_scores
from db.jobs.jobs import get_job
from db.jobs.reflag import new_thresholds, next_outputs, span
from db.session.engine import Database


@dataclass(slots=True)
class ReflagPreview:
    """What a policy would change of a job's flags."""

    judged: int = 0  # outputs
    flagged: int = 0  # that would become flagged
    unflagged: int = 0  # that would lose their flag
    reworded: int = 0  # that would stay flagged, for other reasons
    listed: int = 0  # that have a word of the blocklist in them
    gained: Counter[str] = field(default_factory=Counter)  # reasons of those that would become flagged
    lost: Counter[str] = field(default_factory=Counter)  # reasons of those that would lose their flag

    def count(self, before: Sequence[str], after: Sequence[str]) -> None:
        """Counts an output with its reasons of now and those that it would have."""
        self.judged += 1
        self.listed += any(reason.startswith(BLOCKLIST) for reason in after)
        if after and not before:
            self.flagged += 1
            self.gained.update(after)
        elif before and not after:
            self.unflagged += 1
            self.lost.update(before)
        else:
            self.reworded += before != after


def preview_reflag(
    database: Database,
    job_id: int,
    *,
    thresholds: Mapping[str, float] | None,
    blocklist: tuple[str, ...] | None,
    reset: bool = False,
) -> ReflagPreview:
    """What `reflag_job` with the same policy would change now. Changes nothing.

    Raises:
        NoSuchJob: there is none with that id.
    """
    job = get_job(database, job_id)
    limits = new_thresholds(job.thresholds, thresholds, reset=reset)
    words = job.blocklist if blocklist is None else blocklist
    preview, after = ReflagPreview(), 0
    while outputs := _judge_next(database, job_id, after, limits, words, preview):
        after = outputs[-1]
    return preview


def _judge_next(
    database: Database,
    job_id: int,
    after: int,
    thresholds: Mapping[str, float],
    words: tuple[str, ...],
    preview: ReflagPreview,
) -> Sequence[int]:
    """Counts the next outputs. Returns which."""
    with database.read() as connection:
        outputs = next_outputs(connection, job_id, after)
        rows = standing_scores(connection, span(job_id, outputs)) if outputs else []
    found = match_blocklists(database, span(job_id, outputs), words) if rows and words else BlocklistMatches()
    judged = set(outputs)
    for row in rows:
        if row.id in judged:
            after_it = reasons_of(row, thresholds, found.words.get((row.id, row.revision), ()))
            preview.count(row.flag_reasons or [], after_it)
    return outputs
