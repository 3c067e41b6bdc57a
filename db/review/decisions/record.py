"""Storing decisions: entries of the record, with all that hangs on them.

Functions here work inside the transaction of `reviews`, after `decisions` has said what may be stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from contract.review import Action, State
from db.flagging import BlocklistMatches, flag_outputs
from db.models import Output
from db.record import record_act
from db.review.decisions.rules import LockedOutput, Step, StoredDecision
from db.review_models import Decision, Review, ReviewClaim
from db.review_sync import sync_reviews
from db.search_index import EditedText, index_edits
from db.session.dialect import id_chunks
from db.session.engine import now
from db.standing import STORED_DECISIONS
from db.work.score_requests import EDIT, make_requests, withdraw_requests


def store_decisions(
    connection: Connection, reviewer: str, steps: Sequence[Step], matches: BlocklistMatches
) -> list[StoredDecision]:
    """Stores the steps, each of another output, with all that hangs on them.

    Raises:
        Unmatched: texts that stand again have to be matched first.
    """
    if not steps:
        return []
    ids = [step.output.id for step in steps]
    numbers = _append(connection, reviewer, steps)
    sync_reviews(connection, [step.output.id for step in steps if not step.output.listed], keep=True)
    _update_standing(connection, reviewer, steps, numbers)
    connection.execute(delete(ReviewClaim).where(ReviewClaim.output_id.in_(ids)))
    requests = _update_scoring(connection, steps, numbers)
    another_text = [step.output.id for step in steps if step.revision != step.output.revision]
    for chunk in id_chunks(another_text):
        flag_outputs(connection, chunk, matches)
    sync_reviews(connection, another_text)
    return [
        StoredDecision(
            id=numbers[step.output.id],
            output_id=step.output.id,
            action=step.action,
            from_state=step.output.state,
            to_state=step.to_state,
            version=numbers[step.output.id],
            revision=step.revision,
            request=requests.get(step.output.id),
            classifier=step.output.safety if step.output.id in requests else None,
        )
        for step in steps
    ]


def record_bulk(connection: Connection, reviewer: str, steps: Sequence[Step]) -> None:
    """Records decisions that one call made together, as one act on each of their jobs."""
    for job_id, action in sorted({(step.output.job_id, step.action) for step in steps}):
        mine = [step for step in steps if (step.output.job_id, step.action) == (job_id, action)]
        before = Counter(step.output.state.value for step in mine)
        after = Counter(step.to_state.value for step in mine)
        record_act(connection, action.value, job_id, before=before, after=after, by=reviewer)


def _append(connection: Connection, reviewer: str, steps: Sequence[Step]) -> dict[int, int]:
    """The new entries' numbers by output."""
    rows = [
        {
            "output_id": step.output.id,
            "reviewer": reviewer,
            "action": step.action.value,
            "from_state": step.output.state.value,
            "to_state": step.to_state.value,
            "reason": step.reason,
            "text": step.text,
            "from_revision": step.output.revision,
            "revision": step.revision,
            "from_decision": step.output.decision_id,
            "undoes": step.undoes,
            "key": step.key,
            "flagged": step.output.flagged,
            "seen": None if step.seen is None else step.seen.value,
            **_of_claim(step.output, reviewer),
        }
        for step in steps
    ]
    stored = insert(Decision).values(created_at=now()).returning(Decision.output_id, Decision.id)
    return {row.output_id: row.id for row in connection.execute(stored, rows)}


def _of_claim(output: LockedOutput, reviewer: str) -> dict[str, float | None]:
    # A claim that ran out and was taken over by nobody is still the reviewer's own.
    mine = output.claimed_by == reviewer
    # After a step back of the clock a claim may lie in the future.
    seconds = None if output.seconds is None else max(output.seconds, 0.0)
    return {"drawn": output.drawn if mine else None, "seconds": seconds if mine else None}


def _update_standing(connection: Connection, reviewer: str, steps: Sequence[Step], numbers: dict[int, int]) -> None:
    standing = [step.standing if step.undoes else numbers[step.output.id] for step in steps]
    undone = [number for step, number in zip(steps, standing, strict=True) if step.undoes and number]
    by: dict[int, str] = dict(
        connection.execute(select(Decision.id, Decision.reviewer).where(Decision.id.in_(undone))).all()
    )
    connection.execute(
        update(Review).where(Review.output_id == bindparam("output")),
        [
            {
                "output": step.output.id,
                "state": step.to_state.value,
                "revision": step.revision,
                "decision_id": number,
                "decided_by": None if number is None else by.get(number, reviewer),
                "version": numbers[step.output.id],
            }
            for step, number in zip(steps, standing, strict=True)
        ],
    )
    for state in {step.to_state for step in steps}:
        ids = [step.output.id for step in steps if step.to_state is state]
        connection.execute(update(Output).where(Output.id.in_(ids)).values(decision=STORED_DECISIONS.get(state)))


def _update_scoring(connection: Connection, steps: Sequence[Step], numbers: dict[int, int]) -> dict[int, int]:
    """Asks for the scores of texts that wait for them, and no more for those of edits that were taken back.

    Returns:
        The requests by output.
    """
    withdraw_requests(connection, [(step.output.id, step.output.revision) for step in steps if _is_replaced(step)])
    edits = [EditedText(step.output.id, numbers[step.output.id], step.words) for step in steps if step.words]
    index_edits(connection, edits)
    waiting = [step for step in steps if step.to_state is State.WAITING]
    return make_requests(connection, EDIT, [(step.output.id, step.revision, step.output.safety) for step in waiting])


def _is_replaced(step: Step) -> bool:
    """Whether nobody waits any more for the scores of the edit that stood."""
    if step.undoes:
        return step.output.revision != step.revision
    return step.action is Action.EDIT and step.output.state is State.WAITING
