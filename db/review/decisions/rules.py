"""What may follow how an output stands: the rules of one decision. `decision_record` stores what comes of them.

Functions here work inside the transaction of `reviews`, which says whose decision it is and of how many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, exists, func, select
from sqlalchemy.orm import aliased

from contract.errors import ClaimedByOther, Stale, UsageError
from contract.policy import NO_SAFETY
from contract.review import LONGEST_TEXT, Action, Seen, State, checked_text
from contract.spec import Safety
from db.models import Job, Output
from db.review.claims import CLAIM_LIVES, SECONDS_LEFT
from db.review_models import Decision, Review, ReviewClaim
from db.session.engine import now
from db.session.row_locks import lock_rows
from db.standing import REVISION, STATE, VERSION, scores_of, standing_edit, standing_text

LONGEST_KEY = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDecision:
    """A decision that is stored."""

    id: int
    output_id: int
    action: Action
    from_state: State
    to_state: State
    version: int  # what the next decision of this output should expect
    revision: int  # of the text that stands: 0 as generated, k the k-th edit
    request: int | None = None  # the score request that an edit made
    classifier: str | None = None  # whose


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedOutput:
    """How an output stands, in a transaction that has locked it."""

    id: int
    job_id: int
    safety: str  # its job's classifier
    scoring: str  # a contract.spec.Safety
    flagged: bool
    state: State
    text: str
    revision: int
    scored: bool  # that text has its scores
    newest_edit: int  # its revision; 0 = nobody ever edited it
    decision_id: int | None  # that stands
    decided_by: str | None
    version: int
    listed: bool  # it has its row in `reviews`
    # What stood before the decision that stands.
    back_state: str | None
    back_revision: int | None
    back_decision: int | None
    claimed_by: str | None
    claim_lives: bool | None
    claim_left: float | None  # seconds until it runs out
    seconds: float | None  # since the claim
    drawn: float | None  # as Decision.drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One entry about to be made."""

    output: LockedOutput
    action: Action
    to_state: State
    revision: int
    standing: int | None = None  # the decision that stands after an undo
    undoes: int | None = None
    reason: str | None = None
    text: str | None = None
    words: str | None = None  # of that text, as the search is given them
    key: str | None = None
    seen: Seen | None = None


def lock_outputs(connection: Connection, ids: Sequence[int]) -> dict[int, LockedOutput]:
    """The outputs as they stand, by id, locked in order. Read after the lock: what others stored is seen."""
    lock_rows(connection, Output, Output.id.in_(ids))
    last, edit = Decision.__table__.alias("last"), Decision.__table__.alias("edit")
    scored = exists().where(scores_of(REVISION))
    edits = select(func.max(edit.c.revision)).where(edit.c.output_id == Output.id, edit.c.action == Action.EDIT)
    query = (
        select(
            Output.id, Output.job_id, Job.safety, Output.safety.label("scoring"), Output.flagged,
            STATE.label("state"), standing_text().label("text"),
            REVISION.label("revision"), scored.label("scored"),
            func.coalesce(edits.scalar_subquery(), 0).label("newest_edit"), Review.decision_id, Review.decided_by,
            VERSION.label("version"), Review.output_id.is_not(None).label("listed"),
            last.c.from_state.label("back_state"), last.c.from_revision.label("back_revision"),
            last.c.from_decision.label("back_decision"), ReviewClaim.reviewer.label("claimed_by"),
            CLAIM_LIVES.label("claim_lives"), SECONDS_LEFT.label("claim_left"),
            (now() - ReviewClaim.since).label("seconds"), ReviewClaim.drawn,
        )
        .join(Job, Job.id == Output.job_id)
        .outerjoin(Review, Review.output_id == Output.id)
        .outerjoin(Decision, standing_edit())
        .outerjoin(last, last.c.id == Review.decision_id)
        .outerjoin(ReviewClaim, ReviewClaim.output_id == Output.id)
        .where(Output.id.in_(ids))
        .order_by(Output.id)
    )  # fmt: skip
    return {row.id: LockedOutput(**{**row._mapping, "state": State(row.state)}) for row in connection.execute(query)}


def read_action(name: str, text: str | None) -> Action:
    """What a decision says: approve, reject, or edit with a text.

    Raises:
        UsageError: where it says something else.
    """
    if name not in (Action.APPROVE, Action.REJECT, Action.EDIT):
        raise UsageError(f"{name}: is not a decision; use approve, reject or edit")
    action = Action(name)
    if (action is Action.EDIT) != (text is not None):
        raise UsageError("edit: needs the new text" if action is Action.EDIT else f"text: belongs to edit, not {name}")
    if text is not None and not text.strip():
        raise UsageError("text: is empty; reject the output instead")
    checked_text("text", text, LONGEST_TEXT)
    return action


def check_key(key: str | None) -> None:
    """Raises UsageError where it cannot be one."""
    if key is not None and not (0 < len(key) <= LONGEST_KEY and key.isprintable() and key.isascii()):
        raise UsageError(f"key: must be 1 to {LONGEST_KEY} printable characters")


def check_version(connection: Connection, output: LockedOutput, expected: int | None) -> None:
    """Raises Stale where somebody decided since the expected version."""
    if expected is not None and output.version != expected:
        raise stale_error(connection, output)


def stale_error(connection: Connection, output: LockedOutput) -> Stale:
    """What the others made of an output."""
    last = connection.execute(select(Decision.__table__).where(Decision.id == output.version)).first()
    return Stale(
        output.id,
        state=output.state.value,
        version=output.version,
        by=last.reviewer if last else "",
        action=last.action if last else "",
        at=last.created_at if last else None,
    )


def check_claim(output: LockedOutput, reviewer: str) -> None:
    """Raises ClaimedByOther where another reviewer has the output in hand."""
    if output.claim_lives and output.claimed_by != reviewer:
        raise ClaimedByOther(output.id, by=output.claimed_by or "", seconds=output.claim_left or 0)


def earlier_decision(
    connection: Connection,
    key: str | None,
    reviewer: str,
    output_id: int | None,
    action: Action,
    text: str | None = None,
) -> StoredDecision | None:
    """What was decided under this key before; None where nothing was.

    Raises:
        UsageError: where that was something else, or another reviewer's.
    """
    check_key(key)
    if key is None:
        return None
    row = connection.execute(select(Decision.__table__).where(Decision.key == key)).first()
    if row is None:
        return None
    same = (row.reviewer, row.action, row.text) == (reviewer, action, text)
    if not same or output_id not in (None, row.output_id):
        raise UsageError(f"key: was already used for another decision ({row.action} of output {row.output_id})")
    return StoredDecision(
        id=row.id,
        output_id=row.output_id,
        action=action,
        from_state=State(row.from_state),
        to_state=State(row.to_state),
        version=row.id,
        revision=row.revision,
    )


def next_step(
    output: LockedOutput,
    action: Action,
    *,
    reason: str | None,
    key: str | None,
    text: str | None = None,
    words: str | None = None,
    seen: Seen | None = None,
) -> Step:
    """What an action makes of an output.

    Args:
        words: of an edit's text, made before the transaction: others wait for it.

    Raises:
        UsageError: where it cannot be done to it as it stands.
    """
    if output.scoring == Safety.WAITING:
        raise UsageError(f"output {output.id}: is not scored yet; decide once it is")
    # However it stands by now: rejected in between, say.
    edited = bool(output.revision) and output.safety != NO_SAFETY
    if action is Action.APPROVE and edited and not output.scored:
        raise UsageError(
            f"output {output.id}: its edited text is waiting for scores and counts as approved once it has them; "
            "undo the edit to approve the earlier text"
        )
    to_state = {Action.APPROVE: State.APPROVED, Action.REJECT: State.REJECTED, Action.EDIT: State.WAITING}[action]
    revision = output.revision
    if action is Action.EDIT:
        if text == output.text:
            raise UsageError(f"output {output.id}: the text is unchanged; approve it instead")
        to_state = State.EDITED if output.safety == NO_SAFETY else State.WAITING
        revision = output.newest_edit + 1
    return Step(output=output, action=action, to_state=to_state, revision=revision, reason=reason, text=text,
                words=words, key=key, seen=seen)  # fmt: skip


def newest_own_decision(connection: Connection, reviewer: str) -> tuple[int, int]:
    """The output and the number of the reviewer's newest decision that was not undone.

    Raises:
        UsageError: where there is none.
    """
    later = aliased(Decision)
    undone = exists().where(later.output_id == Decision.output_id, later.undoes == Decision.id)
    query = (
        select(Decision.output_id, Decision.id)
        .where(Decision.reviewer == reviewer, Decision.action != Action.UNDO, ~undone)
        .order_by(Decision.id.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    if row is None:
        raise UsageError(f"{reviewer} has no decision to undo")
    return row.output_id, row.id


def undo_step(connection: Connection, output: LockedOutput, key: str | None) -> Step:
    """The step that takes back the decision that stands.

    Raises:
        UsageError: where none does.
    """
    if output.decision_id is None:
        raise UsageError(f"output {output.id}: it has no decision to undo")
    to_state, revision = State(output.back_state or State.PENDING), output.back_revision or 0
    if to_state is State.WAITING and _is_scored(connection, output, revision):
        to_state = State.EDITED
    if to_state in (State.PENDING, State.UNFLAGGED) and revision == output.revision:
        to_state = State.PENDING if output.flagged else State.UNFLAGGED  # by the policy of now
    return Step(
        output=output,
        action=Action.UNDO,
        to_state=to_state,
        revision=revision,
        standing=output.back_decision,
        undoes=output.decision_id,
        key=key,
    )


def _is_scored(connection: Connection, output: LockedOutput, revision: int) -> bool:
    return bool(connection.scalar(select(exists().where(scores_of(revision, output.safety, output.id)))))
