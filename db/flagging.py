"""Flags: what the scores of the text that stands, and its job's policy, make of an output.

Compiling a long blocklist, and matching texts against it, takes seconds: that is done between transactions, and
`flag_outputs` only looks the matches up. Functions that take a connection work inside the transaction that changed
the outputs; what is decided, and by whom, is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, and_, bindparam, literal, select, union_all, update

from contract.blocklist import blocklist_digest, compiled_blocklist
from contract.policy import NO_SAFETY, UNSCORED, flag_reasons, top_score
from contract.review import Action
from db.models import Batch, Job, Output, Prompt, Score
from db.review_models import Decision, Review
from db.session.engine import Database
from db.standing import REVISION, SCORES, scores_in, scores_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BlocklistMatches:
    """The blocklists' words in the texts of some outputs."""

    digests: Mapping[int, str] = field(default_factory=dict)  # by job: of the list that was matched against
    words: Mapping[tuple[int, int], Sequence[str]] = field(default_factory=dict)  # by output and revision of its text

    def of(self, row: Any) -> Sequence[str]:
        """The words in an output's standing text.

        Raises:
            KeyError: that text was not matched against the job's list of now.
        """
        if not row.blocklist_digest:
            return ()
        if self.digests[row.job_id] != row.blocklist_digest:
            raise KeyError(row.id)
        return self.words[row.id, row.revision]


class Unmatched(Exception):
    """Texts have to be matched first; the transaction is taken back."""

    def __init__(self, outputs: Collection[int]) -> None:
        super().__init__(f"{len(outputs)} outputs are to be matched first")
        self.outputs = outputs


def with_matches(database: Database, act: Callable[[Connection, BlocklistMatches], T]) -> T:
    """What `act` returns from a write transaction in which it may call `flag_outputs`.

    Where it has to judge texts that were not matched yet, or not against the list of now, it is taken back, and made
    again once they are.
    """
    matches = BlocklistMatches()
    while True:
        try:
            with database.write() as connection:
                return act(connection, matches)
        except Unmatched as missing:
            matches = match_blocklists(database, Output.id.in_(missing.outputs))


def match_blocklists(
    database: Database, wanted: ColumnElement[bool], instead: tuple[str, ...] | None = None
) -> BlocklistMatches:
    """Matches every text that these outputs have had, as generated or edited, against their jobs' lists.

    Args:
        instead: a list that is tried in the place of theirs.
    """
    outputs = select(Output.id, Output.job_id).join(Job, Job.id == Output.job_id).where(wanted)
    if instead is None:
        outputs = outputs.where(Job.blocklist_digest != "")
    edits = and_(Decision.output_id == Output.id, Decision.action == Action.EDIT.value)
    texts = union_all(
        outputs.add_columns(literal(0).label("revision"), Output.text.label("text")),
        outputs.add_columns(Decision.revision, Decision.text).join(Decision, edits),
    )
    with database.read() as connection:
        rows = connection.execute(texts).all()
        jobs = select(Job.id, Job.blocklist).where(Job.id.in_({row.job_id for row in rows}))
        lists = {job.id: instead or tuple(job.blocklist) for job in connection.execute(jobs)}
    matchers = {job: compiled_blocklist(words) for job, words in lists.items()}
    return BlocklistMatches(
        {job: blocklist_digest(words) for job, words in lists.items()},
        {(row.id, row.revision): matchers[row.job_id].find(row.text) for row in rows},
    )


def flag_outputs(
    connection: Connection,
    outputs: Collection[int],
    matches: BlocklistMatches,
    found_by: ColumnElement[bool] | None = None,
) -> list[int]:
    """Flags outputs by the scores of the text that stands and by their jobs' policies; their batches' counters follow.

    Whoever calls it brings `reviews` in step.

    Args:
        found_by: a condition that takes them all, where naming each would be slow; it may take others as well.

    Returns:
        Those whose flag, reasons or top score are others now.

    Raises:
        Unmatched: texts have to be matched first.
    """
    wanted = Output.id.in_(outputs) if found_by is None else found_by
    _lock(connection, wanted)
    rows = [row for row in standing_scores(connection, wanted) if row.id in outputs]
    try:
        verdicts = [verdict for row in rows if (verdict := _verdict(row, matches)) is not None]
    except KeyError:
        raise Unmatched([row.id for row in rows]) from None
    if verdicts:
        connection.execute(update(Output).where(Output.id == bindparam("output")), verdicts)
        _count(connection, rows, {verdict["output"]: verdict["flagged"] for verdict in verdicts})
    return [verdict["output"] for verdict in verdicts]


def _lock(connection: Connection, wanted: ColumnElement[bool]) -> None:
    """Batches, then jobs, as whoever ends a batch locks them; the policy stays as it is until this is stored."""
    outputs = select(Prompt.batch_id).join(Output, Output.prompt_id == Prompt.id).where(wanted)
    batches = select(Batch.job_id).where(Batch.id.in_(outputs)).order_by(Batch.id).with_for_update(key_share=True)
    jobs = set(connection.scalars(batches))
    connection.execute(select(Job.id).where(Job.id.in_(jobs)).order_by(Job.id).with_for_update(read=True)).all()


def standing_scores(connection: Connection, wanted: ColumnElement[bool]) -> Sequence[Any]:
    """The outputs with the scores of the text that stands, their flags and their jobs' policies."""
    query = (
        select(
            Output.id, Output.flagged, Output.flag_reasons, Output.top_score, Output.job_id, Prompt.batch_id,
            REVISION.label("revision"), Job.safety, Job.thresholds, Job.blocklist_digest, Score.id.label("score"),
            *SCORES,
        )
        .join(Job, Job.id == Output.job_id)
        .join(Prompt, Prompt.id == Output.prompt_id)
        .outerjoin(Review, Review.output_id == Output.id)
        .outerjoin(Score, scores_of(REVISION))
        .where(wanted)
        .order_by(Output.id)
    )  # fmt: skip
    return connection.execute(query).all()


def reasons_of(row: Any, thresholds: Mapping[str, float], words: Sequence[str]) -> list[str]:
    """Why an output of `standing_scores` is flagged by such a policy."""
    return [UNSCORED] if row.score is None else flag_reasons(scores_in(row), thresholds, words)


def _verdict(row: Any, matches: BlocklistMatches) -> dict[str, Any] | None:
    """What an output's columns are to be; None where they are so, or its job scores nothing."""
    if row.safety == NO_SAFETY:
        return None
    reasons = reasons_of(row, row.thresholds, () if row.score is None else matches.of(row))
    top = top_score(scores_in(row))
    if (reasons, top) == (row.flag_reasons or [], row.top_score):
        return None
    return {"output": row.id, "flagged": bool(reasons), "flag_reasons": reasons or None, "top_score": top}


def _count(connection: Connection, rows: Sequence[Any], flagged: Mapping[int, bool]) -> None:
    changes: dict[int, int] = {}
    for row in rows:
        changes[row.batch_id] = changes.get(row.batch_id, 0) + flagged.get(row.id, row.flagged) - row.flagged
    for batch, change in sorted(changes.items()):
        if change:
            connection.execute(update(Batch).where(Batch.id == batch).values(flagged=Batch.flagged + change))
