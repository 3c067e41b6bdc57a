"""The worker's side of score requests: claiming them under a lease, renewing, saving and giving up.

A request is fenced by its token, as a batch is. It is tried three times, and each attempt is counted by its claim: it
may take the process down.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, delete, exists, insert, or_, select, true, update

from contract.policy import LABELS, ScoreBy
from contract.review import Action, State
from db.flagging import BlocklistMatches, flag_outputs, with_matches
from db.models import Job, Output, Score
from db.review_models import Decision, Review, ScoreRequest
from db.review_sync import sync_reviews
from db.session.engine import Database, now
from db.session.row_locks import lock_rows
from db.standing import STORED_DECISIONS
from db.work.lease import NO_LEASE, LeaseLost, shortened
from db.work.score_requests import DONE, FAILED, SCORING, WAITING

MAX_ATTEMPTS = 3
NO_SIGN_OF_LIFE = "gave no sign of life"
ANY_REVISION: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestClaim:
    """A score request in the hands of one worker, until its lease runs out."""

    request_id: int
    kind: str
    output_id: int
    revision: int
    classifier: str
    text: str
    attempts: int  # this one counted
    token: str
    score_by: ScoreBy = ScoreBy.WINDOW  # what is read at once, as for the output's job
    served_revision: str | None = None  # of the classifier: what scores the output's job; None = any may


def _claimable(classifiers: Sequence[str], revisions: Mapping[str, str], alone: bool) -> ColumnElement[bool]:
    # One that failed before may have taken a process down: it runs alone.
    tried = ScoreRequest.attempts > 0 if alone else ScoreRequest.attempts == 0
    mine = and_(ScoreRequest.status == WAITING, ScoreRequest.classifier.in_(classifiers), tried)
    other = [
        and_(ScoreRequest.classifier == name, Job.served_classifier_revision != revision)
        for name, revision in revisions.items()
    ]
    if not other:
        return mine
    return and_(mine, ~exists().where(Output.id == ScoreRequest.output_id, Job.id == Output.job_id, or_(*other)))


def waiting_requests(
    database: Database,
    classifiers: Sequence[str],
    limit: int = 64,
    *,
    alone: bool | None = None,
    revisions: Mapping[str, str] = ANY_REVISION,
) -> list[int]:
    """The oldest requests that a worker with these classifiers could claim now; `alone`: of those that run alone.

    Args:
        revisions: of the classifiers that are loaded; an output is scored by the revision that scores its job.
    """
    either = or_(_claimable(classifiers, revisions, True), _claimable(classifiers, revisions, False))
    wanted = either if alone is None else _claimable(classifiers, revisions, alone)
    with database.read() as connection:
        return list(connection.scalars(select(ScoreRequest.id).where(wanted).order_by(ScoreRequest.id).limit(limit)))


def claim_request(
    database: Database,
    worker: str,
    classifiers: Sequence[str],
    lease: float,
    *,
    alone: bool = False,
    revisions: Mapping[str, str] = ANY_REVISION,
) -> RequestClaim | None:
    """Takes the oldest waiting request; those that were tried before only where nothing else runs (`alone`)."""
    first = select(ScoreRequest).where(_claimable(classifiers, revisions, alone)).order_by(ScoreRequest.id).limit(1)
    with database.read() as connection:  # most look in vain, and then take no write lock
        if connection.execute(first).first() is None:
            return None
    with database.write() as connection:
        row = connection.execute(first.with_for_update(skip_locked=True)).first()
        if row is None:
            return None
        token = secrets.token_hex(16)
        claimed = {"status": SCORING, "worker": worker, "lease_token": token, "attempts": row.attempts + 1}
        connection.execute(
            update(ScoreRequest).where(ScoreRequest.id == row.id).values(**claimed, lease_until=now() + lease)
        )
        job = _job(connection, row.output_id)
        return RequestClaim(
            request_id=row.id, kind=row.kind, output_id=row.output_id, revision=row.revision,
            classifier=row.classifier, text=_text(connection, row.output_id, row.revision), attempts=row.attempts + 1,
            token=token, score_by=ScoreBy(job.score_by), served_revision=job.served_classifier_revision,
        )  # fmt: skip


def _job(connection: Connection, output_id: int) -> Any:
    """How the output's job is scored."""
    columns = (Job.served_classifier_revision, Job.score_by)
    return connection.execute(
        select(*columns).join(Output, Output.job_id == Job.id).where(Output.id == output_id)
    ).one()


def _text(connection: Connection, output_id: int, revision: int) -> str:
    edits = (Decision.output_id == output_id, Decision.revision == revision, Decision.action == Action.EDIT)
    query = select(Decision.text).where(*edits) if revision else select(Output.text).where(Output.id == output_id)
    return connection.execute(query).scalar_one() or ""


def renew_requests(database: Database, claims: Sequence[RequestClaim], lease: float) -> set[str]:
    """Prolongs the claims that still hold. Returns the tokens of those that do not."""
    if not claims:
        return set()
    tokens = [claim.token for claim in claims]
    mine = and_(ScoreRequest.lease_token.in_(tokens), ScoreRequest.status == SCORING)
    with database.write() as connection:
        held = connection.scalars(
            update(ScoreRequest).where(mine).values(lease_until=now() + lease).returning(ScoreRequest.lease_token)
        ).all()
    return set(tokens) - {token for token in held if token}


def _fence(connection: Connection, claim: RequestClaim, **values: Any) -> None:
    mine = and_(
        ScoreRequest.id == claim.request_id, ScoreRequest.lease_token == claim.token, ScoreRequest.status == SCORING
    )
    if connection.execute(update(ScoreRequest).where(mine).values(**values, **NO_LEASE)).rowcount != 1:
        raise LeaseLost(f"score request {claim.request_id} was taken over, or nobody waits for it any more")


def save_edit_scores(
    database: Database,
    claim: RequestClaim,
    scores: Mapping[str, float],
    classifier_revision: str,
    *,
    deciding: Mapping[str, tuple[int, int]] | None = None,
) -> None:
    """Stores the scores of an edited text. Where that text stands, whatever was decided of it meanwhile, it is flagged
    by them and the job's policy of this moment; where the edit itself does, it counts from now on.

    Args:
        deciding: by label, the sentence that has its score; None = they are by window.

    Raises:
        LeaseLost: where the claim is not this worker's any more, or another revision of the classifier scores the job
            by now, or it scores by something else; nothing is stored then.
    """

    def store(connection: Connection, matches: BlocklistMatches) -> None:
        # The output first, as a decision locks it: nobody waits for each other.
        lock_rows(connection, Output, Output.id == claim.output_id)
        _fence(connection, claim, status=DONE)
        job = _job(connection, claim.output_id)
        if job.served_classifier_revision not in (None, classifier_revision) or job.score_by != claim.score_by:
            raise LeaseLost(f"the job of output {claim.output_id} is scored otherwise by now")
        made_by = {"classifier_revision": classifier_revision, "score_by": claim.score_by.value}
        _store_scores(connection, claim, {**made_by, "deciding": deciding, **{n: scores.get(n) for n in LABELS}})
        standing = and_(Review.output_id == claim.output_id, Review.revision == claim.revision)
        waiting = and_(standing, Review.state == State.WAITING)
        if connection.execute(update(Review).where(waiting).values(state=State.EDITED.value)).rowcount:
            edited = {"decision": STORED_DECISIONS[State.EDITED]}
            connection.execute(update(Output).where(Output.id == claim.output_id).values(edited))
        if connection.scalar(select(exists().where(standing))):
            flag_outputs(connection, [claim.output_id], matches)
            sync_reviews(connection, [claim.output_id])

    with_matches(database, store)


def _store_scores(connection: Connection, claim: RequestClaim, scores: Mapping[str, Any]) -> None:
    """In place of those that were made otherwise, where the edit is scored again."""
    text = {"output_id": claim.output_id, "revision": claim.revision, "classifier": claim.classifier}
    known = [Score.__table__.c[name] == value for name, value in text.items()]
    other = or_(*(Score.__table__.c[name] != scores[name] for name in ("classifier_revision", "score_by")))
    connection.execute(delete(Score).where(*known, other))
    if not connection.scalar(select(exists().where(*known))):
        connection.execute(insert(Score).values(**text, **scores, created_at=now()))


def save_words(
    database: Database, claim: RequestClaim, spans: Sequence[tuple[int, int]], drops: Mapping[str, Sequence[float]]
) -> None:
    """Stores which words carry the scores.

    Raises:
        LeaseLost: where the claim is not this worker's any more; nothing is stored then.
    """
    result = {
        "spans": [list(span) for span in spans],
        "drops": {label: list(values) for label, values in drops.items()},
    }
    with database.write() as connection:
        _fence(connection, claim, status=DONE, result=result)


def fail_request(database: Database, claim: RequestClaim, reason: str) -> bool:
    """An attempt failed. Returns whether the request is given up now: at the third.

    Raises:
        LeaseLost: where the claim is not this worker's any more.
    """
    over = claim.attempts >= MAX_ATTEMPTS
    with database.write() as connection:
        _fence(connection, claim, status=FAILED if over else WAITING, reason=shortened(reason) if over else None)
    return over


def return_request(database: Database, claim: RequestClaim) -> None:
    """Gives a request back that was not tried: it is charged with nothing. Stale claims change nothing."""
    mine = and_(ScoreRequest.id == claim.request_id, ScoreRequest.lease_token == claim.token)
    back = {"status": WAITING, "attempts": ScoreRequest.attempts - 1, **NO_LEASE}
    with database.write() as connection:
        connection.execute(update(ScoreRequest).where(mine, ScoreRequest.status == SCORING).values(back))


def sweep_requests(database: Database) -> int:
    """Takes back the requests whose lease ran out. Returns how many."""
    ran_out = exists().where(ScoreRequest.status == SCORING, ScoreRequest.lease_until < now())
    with database.read() as connection:  # most sweeps find nothing, and then take no write lock
        if not connection.scalar(select(ran_out)):
            return 0
    with database.write() as connection:
        return take_back_requests(connection)


def open_requests(database: Database) -> set[str]:
    """The classifiers whose scores somebody waits for."""
    wanted = select(ScoreRequest.classifier).where(ScoreRequest.status.in_((WAITING, SCORING))).distinct()
    with database.read() as connection:
        return set(connection.scalars(wanted))


def take_back_requests(
    connection: Connection, *, worker: str | None = None, how: str = NO_SIGN_OF_LIFE, charged: bool = True
) -> int:
    """Frees the requests of a worker that is gone, or all whose lease ran out; at the third attempt they are given up.

    Args:
        charged: the attempt counts; not where the worker left in order.
    """
    ran_out = ScoreRequest.lease_until < now() if worker is None else ScoreRequest.worker == worker
    over = and_(ScoreRequest.attempts >= MAX_ATTEMPTS, true() if charged else ScoreRequest.attempts < 0)
    reason = f"the worker process {how} {MAX_ATTEMPTS} times while it scored this text"
    back = {
        "status": case((over, FAILED), else_=WAITING),
        "reason": case((over, reason), else_=None),
        "attempts": ScoreRequest.attempts - (0 if charged else 1),
        **NO_LEASE,
    }
    return connection.execute(update(ScoreRequest).where(ScoreRequest.status == SCORING, ran_out).values(back)).rowcount
