"""Score requests as people see them: an edited text to score, or a text whose words are to be marked.

How a worker claims one and what it saves is the business of `request_claims`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, and_, bindparam, exists, or_, select, update

from contract.errors import NoSuchOutput, UsageError
from contract.policy import NO_SAFETY
from contract.review import State
from contract.spec import Safety
from db.models import Job, Output
from db.review_models import Review, ScoreRequest
from db.session.dialect import insert_or
from db.session.engine import Database, now
from db.session.row_locks import lock_rows
from db.standing import REVISION, scores_of
from db.work.lease import NO_LEASE
from db.work.workers import list_workers

EDIT, WORDS = "edit", "words"
WAITING, SCORING, DONE, FAILED, WITHDRAWN = "waiting", "scoring", "done", "failed", "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestStatus:
    """How a score request stands, for the person who waits for it."""

    id: int
    classifier: str
    status: str  # waiting, scoring, done, failed, withdrawn
    reason: str | None  # why it failed
    served: bool  # a live worker scores with that classifier, in the revision that scores the output's job


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedWords:
    """Which words of the standing text carry its scores: by how much a label's score falls without them.

    Approximate: each part of the text was left out alone, and words that matter together hide each other.
    """

    status: str  # as Request.status; "none" = the job has no classifier
    request: int | None
    classifier: str
    reason: str | None
    served: bool
    spans: tuple[tuple[int, int], ...] = ()  # (start, end) in characters of the standing text
    drops: Mapping[str, tuple[float, ...]] = field(
        default_factory=dict
    )  # by label, one for each span; below 0 = the score rises


def make_requests(connection: Connection, kind: str, wanted: Sequence[tuple[int, int, str]]) -> dict[int, int]:
    """Requests inside the caller's transaction; the same one again is put back to waiting where it came to nothing.

    Args:
        wanted: output, revision and classifier; each output once.

    Returns:
        The requests by output.
    """
    if not wanted:
        return {}
    rows = [{"output": output, "of": revision, "by": classifier} for output, revision, classifier in wanted]
    named: dict[str, Any] = {
        "output_id": bindparam("output"),
        "revision": bindparam("of"),
        "classifier": bindparam("by"),
    }
    new = insert_or(connection, ScoreRequest).values(**named, kind=kind, status=WAITING, created_at=now())
    connection.execute(new.on_conflict_do_nothing(), rows)
    lost = (_SAME, ScoreRequest.kind == kind, ScoreRequest.classifier == bindparam("by"), _LOST)
    again = {"status": WAITING, "attempts": 0, "reason": None, **NO_LEASE}
    connection.execute(update(ScoreRequest).where(*lost).values(again), rows)
    theirs = ScoreRequest.output_id.in_([output for output, _, _ in wanted])
    stored = connection.execute(select(ScoreRequest.__table__).where(theirs, ScoreRequest.kind == kind))
    ids = {(row.output_id, row.revision, row.classifier): row.id for row in stored}
    return {one[0]: ids[one] for one in wanted}


_SAME = and_(ScoreRequest.output_id == bindparam("output"), ScoreRequest.revision == bindparam("of"))
# Not IN: its list would be made anew for each row.
_LOST = or_(ScoreRequest.status == FAILED, ScoreRequest.status == WITHDRAWN)
_OPEN = or_(ScoreRequest.status == WAITING, ScoreRequest.status == SCORING)


def withdraw_requests(connection: Connection, edits: Sequence[tuple[int, int]]) -> None:
    """Nobody waits for the scores of these edits any more: a worker that has one in hand saves nothing.

    Args:
        edits: output and revision.
    """
    if not edits:
        return
    mine = (_SAME, ScoreRequest.kind == EDIT, _OPEN)
    gone = {"status": WITHDRAWN, **NO_LEASE}
    rows = [{"output": output, "of": revision} for output, revision in edits]
    connection.execute(update(ScoreRequest).where(*mine).values(gone), rows)


def is_served(database: Database, classifier: str, revision: str | None) -> bool:
    """Whether a live worker scores with that classifier in that revision; None = in any."""
    return any(worker.alive and worker.scores(classifier, revision) for worker in list_workers(database))


def edit_request(connection: Connection, output_id: int, revision: int) -> Any:
    """The row of an edit's request, or None."""
    mine = (ScoreRequest.output_id == output_id, ScoreRequest.revision == revision, ScoreRequest.kind == EDIT)
    return connection.execute(select(ScoreRequest).where(*mine).limit(1)).first()


def score_again(database: Database, output_id: int) -> int:
    """Puts the standing edit's request back, where scoring it was given up. Returns the request.

    Raises:
        UsageError: no edit of this output is waiting for scores.
    """
    with database.write() as connection:
        # The lock of decisions: no other edit comes to stand meanwhile.
        lock_rows(connection, Output, Output.id == output_id)
        standing = select(Review.revision, Job.safety).join(Job, Job.id == Review.job_id)
        row = connection.execute(standing.where(Review.output_id == output_id, Review.state == State.WAITING)).first()
        if row is None:
            raise UsageError(f"output {output_id} has no edit waiting for scores")
        return make_requests(connection, EDIT, [(output_id, row.revision, row.safety)])[output_id]


def mark_words(database: Database, output_id: int) -> MarkedWords:
    """Asks for the words that carry the scores of the text that stands, once; called again it says how that stands.

    Raises:
        NoSuchOutput: there is none with that id.
        UsageError: its text is not scored.
    """
    found = read_words(database, output_id)
    if found is not None and found.status not in (FAILED, WITHDRAWN):
        return found
    with database.write() as connection:
        # The lock of decisions: of two who ask at once the second finds the first one's request.
        lock_rows(connection, Output, Output.id == output_id)
        output = _standing(connection, output_id)
        if output.safety == NO_SAFETY:
            return MarkedWords(status=Safety.NONE.value, request=None, classifier=NO_SAFETY, reason=None, served=False)
        if not output.scored:
            raise UsageError(f"output {output_id}: its text is not scored yet; its words can be marked once it is")
        make_requests(connection, WORDS, [(output_id, output.revision, output.safety)])
    words = read_words(database, output_id)
    if words is None:  # another edit came to stand this very moment
        return mark_words(database, output_id)
    return words


def read_words(database: Database, output_id: int) -> MarkedWords | None:
    """How the marking of the standing text's words stands; None where nobody asked for it.

    Raises:
        NoSuchOutput: there is none with that id.
    """
    with database.read() as connection:
        output = _standing(connection, output_id)
        mine = (ScoreRequest.output_id == output_id, ScoreRequest.revision == output.revision)
        asked = (ScoreRequest.kind == WORDS, ScoreRequest.classifier == output.safety)
        row = connection.execute(select(ScoreRequest).where(*mine, *asked)).first()
    if row is None:
        return None
    result = row.result or {"spans": [], "drops": {}}
    return MarkedWords(
        status=row.status,
        request=row.id,
        classifier=row.classifier,
        reason=row.reason,
        served=is_served(database, row.classifier, output.served_classifier_revision),
        spans=tuple((start, end) for start, end in result["spans"]),
        drops={label: tuple(values) for label, values in result["drops"].items()},
    )


def _standing(connection: Connection, output_id: int) -> Any:
    scored = exists().where(scores_of(REVISION))
    query = (
        select(REVISION.label("revision"), Job.safety, Job.served_classifier_revision, scored.label("scored"))
        .select_from(Output)
        .join(Job, Job.id == Output.job_id)
        .outerjoin(Review, Review.output_id == Output.id)
        .where(Output.id == output_id)
    )
    row = connection.execute(query).first()
    if row is None:
        raise NoSuchOutput(output_id)
    return row
