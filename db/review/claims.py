"""Outputs in reviewers' hands: the next one to look at, and who has which. Two reviewers never have the same one.

A claim runs out by the database's clock; whoever looks at an output renews it.
"""

from __future__ import annotations

import secrets
from typing import Any

from sqlalchemy import Connection, and_, case, delete, exists, func, or_, select

from contract.errors import ClaimedByOther, NoSuchOutput, UsageError
from contract.review import Filter, checked_name
from contract.spec import Safety
from db.models import Batch, Output
from db.review.paging import JobFilter
from db.review.views import view_of
from db.review_models import ReviewClaim
from db.session.dialect import insert_or
from db.session.engine import Database, now
from db.standing import UNFLAGGED

CLAIM_SECONDS = 120.0
LONGEST_CLAIM = 2 * CLAIM_SECONDS
SECONDS_LEFT = ReviewClaim.until - now()
CLAIM_LIVES = and_(ReviewClaim.until > now(), ReviewClaim.until <= now() + LONGEST_CLAIM)
"""Whether a claim holds. One that has longer to go was made before the clock was set back."""

DRAWS = 200
"""Numbers tried for one audit; of a job's outputs most are unflagged and undecided."""
TRIES = 20
"""How often an output that another reviewer took this very moment is passed over for the next."""
AUDITABLE = and_(UNFLAGGED, Output.safety == Safety.SCORED)
"""The outputs that an audit draws from."""


def next_output(
    database: Database, reviewer: str, wanted: Filter, *, after: int | None = None, audit_share: float = 0.0
) -> int | None:
    """The next output of a view that nobody else has in hand, claimed for this reviewer; None where there is none.

    Args:
        after: the output that the reviewer comes from: the next behind it, and at the end the first ones again.
        audit_share: of what is handed out, this share is drawn at random from the unflagged outputs of the view's jobs.
            Each draw is kept with its chance, so that what it finds can be counted for all of them.

    Raises:
        UsageError: the share is out of range, or the query contains no word.
    """
    reviewer = checked_name(reviewer)
    if not 0 <= audit_share < 1:
        raise UsageError(f"audit share: must be from 0 to less than 1, not {audit_share:g}")
    if audit_share and secrets.SystemRandom().random() < audit_share:
        drawn = _draw(database, reviewer, wanted, after)
        if drawn is not None:
            return drawn
    for _ in range(TRIES):
        output = _candidate(database, reviewer, wanted, after)
        if output is None:
            return None
        with database.write() as connection:
            if _try_to_claim(connection, output, reviewer):
                if view_of(connection, wanted).shows(output):
                    return output
                _delete_claim(connection, output, reviewer)  # it was decided this very moment
    return None


def _candidate(database: Database, reviewer: str, wanted: Filter, after: int | None) -> int | None:
    with database.read() as connection:
        seen = view_of(connection, wanted)
        free = [~_held_by_others(seen.number, reviewer)]
        place = None if after is None else seen.place_of(after)
        found = seen.find(place, 1, extra=free, seconds=None)
        if not found.ids and place is not None:
            found = seen.find(None, 1, extra=[*free, seen.number != after], seconds=None)
    return found.ids[0] if found.ids else None


def _held_by_others(number: Any, reviewer: str) -> Any:
    theirs = (ReviewClaim.output_id == number, ReviewClaim.reviewer != reviewer)
    return exists().where(*theirs, CLAIM_LIVES)


def _try_to_claim(connection: Connection, output_id: int, reviewer: str, drawn: float | None = None) -> bool:
    """Claims an output that nobody else has. Returns whether it did."""
    values = {"output_id": output_id, "reviewer": reviewer, "drawn": drawn}
    taking = insert_or(connection, ReviewClaim).values(**values, since=now(), until=now() + CLAIM_SECONDS)
    mine = ReviewClaim.reviewer == reviewer
    free = or_(mine, ~CLAIM_LIVES)
    keep = and_(mine, ReviewClaim.until > now())  # renewed: since when, and how it was drawn, stay as they were
    changed = {
        "reviewer": reviewer,
        "until": now() + CLAIM_SECONDS,
        "since": _kept(keep, ReviewClaim.since, now()),
        "drawn": _kept(keep, ReviewClaim.drawn, drawn),
    }
    claimed = taking.on_conflict_do_update(index_elements=["output_id"], set_=changed, where=free)
    return connection.execute(claimed.returning(ReviewClaim.output_id)).first() is not None


def _kept(keep: Any, old: Any, new: Any) -> Any:
    return case((keep, old), else_=new)


def claim_output(database: Database, output_id: int, reviewer: str) -> None:
    """Claims one output, or renews the reviewer's own claim of it.

    Raises:
        ClaimedByOther: another reviewer has it.
        NoSuchOutput: there is none with that id.
        UsageError: the reviewer's name cannot be used.
    """
    reviewer = checked_name(reviewer)
    with database.write() as connection:
        if not connection.scalar(select(exists().where(Output.id == output_id))):
            raise NoSuchOutput(output_id)
        if _try_to_claim(connection, output_id, reviewer):
            return
        held = select(ReviewClaim.reviewer, SECONDS_LEFT).where(ReviewClaim.output_id == output_id)
        by, seconds = connection.execute(held).one()
        raise ClaimedByOther(output_id, by=by, seconds=seconds)


def release_output(database: Database, output_id: int, reviewer: str) -> None:
    """Lets go of an output; what is not the reviewer's stays as it is."""
    with database.write() as connection:
        _delete_claim(connection, output_id, reviewer)


def _delete_claim(connection: Connection, output_id: int, reviewer: str) -> None:
    mine = and_(ReviewClaim.output_id == output_id, ReviewClaim.reviewer == reviewer)
    connection.execute(delete(ReviewClaim).where(mine))


def _draw(database: Database, reviewer: str, wanted: Filter, after: int | None) -> int | None:
    """An unflagged, undecided output, each of a job's with the same chance; None where none was hit."""
    with database.read() as connection:
        jobs = _unflagged(connection, wanted)
        if not jobs:
            return None
        job = secrets.SystemRandom().choices(list(jobs), weights=list(jobs.values()))[0]
        output = _hit(connection, job, reviewer, after)
    if output is None:
        return None
    with database.write() as connection:
        if not _try_to_claim(connection, output, reviewer, 1 / jobs[job]):
            return None
        if connection.scalar(select(exists().where(Output.id == output, AUDITABLE))):
            return output
        _delete_claim(connection, output, reviewer)
    return None


def _unflagged(connection: Connection, wanted: Filter) -> dict[int, int]:
    """How many unflagged outputs each job of the view has, where it has any."""
    number = (func.sum(Batch.scored + Batch.unscored) - func.sum(Batch.flagged)).label("number")
    jobs = JobFilter(connection, wanted)
    query = select(Batch.job_id, number).where(jobs.matches(Batch.job_id)).group_by(Batch.job_id)
    return {row.job_id: int(row.number) for row in connection.execute(query) if row.number > 0}


def _hit(connection: Connection, job: int, reviewer: str, after: int | None) -> int | None:
    # Numbers are tried rather than rows counted off: so each row has the same chance, and few are read.
    mine = Output.job_id == job
    first = connection.scalar(select(func.min(Output.id)).where(mine))
    last = connection.scalar(select(func.max(Output.id)).where(mine))
    if first is None or last is None:
        return None
    tried = [first + secrets.randbelow(last - first + 1) for _ in range(DRAWS)]
    others = (~_held_by_others(Output.id, reviewer), Output.id != (after or 0))
    good = set(connection.scalars(select(Output.id).where(Output.id.in_(tried), mine, AUDITABLE, *others)))
    return next((output for output in tried if output in good), None)
