"""The review queue: pages of what matches a filter, how many match, and who is the neighbour of whom.

Nothing is skipped by counting and nothing counted to the end: a page begins at a place in its order, and counts stop
at a cap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from contract.review import DECIDED_STATES, Filter, Order, State
from contract.spec import Safety
from db import search
from db.models import Job, Output, Prompt, Score
from db.review.claims import CLAIM_LIVES
from db.review.paging import CappedCount, FoundOutputs, Place
from db.review.views import FilteredView, read_cursor, view_of, write_cursor
from db.review_models import Decision, Review, ReviewClaim
from db.session.engine import Database
from db.standing import REVISION, SCORES, STATE, VERSION, scores_in, scores_of, standing_edit, standing_text

EXCERPT_CHARACTERS = 400
"""Characters of a prompt and of a text that a page of many shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """One output on a page of many."""

    output_id: int
    job_id: int
    job_name: str
    model: str
    custom_id: str | None
    position: int
    sample_index: int
    prompt: str  # its first EXCERPT characters
    prompt_cut: bool
    text: str  # that stands, likewise
    text_cut: bool
    state: State
    flagged: bool
    reasons: tuple[str, ...]
    safety: Safety  # where it is on its way through the classifier
    top_score: float | None
    scores: dict[str, float]  # of the text that stands; of an edit that waits for its own, none
    version: int
    revision: int  # of the text that stands
    decided_by: str | None  # whose decision stands
    claimed_by: str | None  # another reviewer who has it in hand
    blind: bool  # it is being audited: who decides it must not know its score
    hits: dict[str, tuple[tuple[int, int], ...]]  # of the query, in "prompt", "text", "custom_id": (start, end)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePage:
    """Some of what matches, in the view's order."""

    rows: tuple[QueueRow, ...]
    next: str | None  # cursors
    previous: str | None
    order: Order  # that was used: a view of everything knows only the oldest first
    complete: bool  # False: one look's time was over before the page was full; `next` searches on


def read_page(
    database: Database, wanted: Filter, *, cursor: str | None = None, limit: int = 50, reviewer: str = ""
) -> QueuePage:
    """One page of a view.

    Args:
        cursor: a page's `next` or `previous`; None = the first page.
        reviewer: who looks: what this one has in hand is not shown as claimed.

    Raises:
        UsageError: the cursor is damaged or of another order, or the query has no word in it.
    """
    with database.read() as connection:
        seen = view_of(connection, wanted)
        place, forwards = read_cursor(seen, cursor) if cursor else (None, True)
        found = seen.find(place, limit, forwards=forwards)
        ids = found.ids if forwards else found.ids[::-1]
        rows = _rows(connection, ids, wanted, reviewer)
        before, after = (place is not None, found.more) if forwards else (found.more, True)
        return QueuePage(
            rows=tuple(rows),
            next=_cursor(seen, found, ids, place, towards_next=True) if after else None,
            previous=_cursor(seen, found, ids, place, towards_next=False) if before else None,
            order=seen.order,
            complete=found.complete,
        )


def _cursor(
    seen: FilteredView, found: FoundOutputs, ids: Sequence[int], place: Place | None, *, towards_next: bool
) -> str | None:
    searched = not found.complete and found.behind is not None
    if searched and found.behind is not None and (towards_next == (not ids or found.behind >= ids[-1])):
        here: Place | None = Place(0, found.behind)
    elif ids:
        here = seen.place_of(ids[-1] if towards_next else ids[0])
    else:
        here = place
    return None if here is None else write_cursor(seen, here, forwards=towards_next)


def _rows(connection: Connection, ids: Sequence[int], wanted: Filter, reviewer: str) -> list[QueueRow]:
    query = search.read_query(wanted.query) if wanted.query else None
    by_id = {row.output_id: row for row in connection.execute(_rows_query(ids))}
    return [_row(by_id[output], query, reviewer) for output in ids if output in by_id]


def _rows_query(ids: Sequence[int]) -> Any:
    edit = Decision.__table__.alias("edit")
    text = standing_text(edit.c)
    return (
        select(
            Output.id.label("output_id"), Output.job_id, Job.name.label("job_name"), Job.model, Prompt.custom_id,
            Prompt.position, Output.sample_index, Output.flagged, Output.flag_reasons, Output.top_score, Output.safety,
            func.substr(Prompt.prompt, 1, EXCERPT_CHARACTERS + 1).label("prompt"),
            func.substr(text, 1, EXCERPT_CHARACTERS + 1).label("text"),
            STATE.label("state"), VERSION.label("version"), REVISION.label("revision"),
            Review.decided_by,
            ReviewClaim.reviewer.label("claimed_by"), CLAIM_LIVES.label("claimed"), ReviewClaim.drawn,
            *SCORES,
        )
        .join(Prompt, Prompt.id == Output.prompt_id)
        .join(Job, Job.id == Output.job_id)
        .outerjoin(Review, Review.output_id == Output.id)
        .outerjoin(Score, scores_of(REVISION))
        .outerjoin(edit, standing_edit(edit.c))
        .outerjoin(ReviewClaim, ReviewClaim.output_id == Output.id)
        .where(Output.id.in_(ids))
    )  # fmt: skip


def _row(row: Any, query: search.Query | None, reviewer: str) -> QueueRow:
    prompt, text = row.prompt[:EXCERPT_CHARACTERS], row.text[:EXCERPT_CHARACTERS]
    plain = ("output_id", "job_id", "job_name", "model", "custom_id", "position", "sample_index", "top_score",
             "version", "revision", "decided_by")  # fmt: skip
    return QueueRow(
        **{name: getattr(row, name) for name in plain},
        prompt=prompt,
        prompt_cut=len(row.prompt) > EXCERPT_CHARACTERS,
        text=text,
        text_cut=len(row.text) > EXCERPT_CHARACTERS,
        state=State(row.state),
        safety=Safety(row.safety),
        flagged=bool(row.flagged),
        reasons=tuple(row.flag_reasons or ()),
        scores=scores_in(row),
        claimed_by=row.claimed_by if row.claimed and row.claimed_by != reviewer else None,
        blind=bool(row.claimed) and row.drawn is not None and State(row.state) not in DECIDED_STATES,
        hits=_hits(query, prompt=prompt, text=text, custom_id=row.custom_id or "") if query else {},
    )


def _hits(query: search.Query, **shown: str) -> dict[str, tuple[tuple[int, int], ...]]:
    return {name: query.hits(part) for name, part in shown.items()}


def count_matching(database: Database, wanted: Filter, cap: int | None = 1000) -> CappedCount:
    """How many outputs match, counted up to `cap`; None counts to the end."""
    with database.read() as connection:
        return view_of(connection, wanted).count(cap)


def neighbour(database: Database, wanted: Filter, output_id: int) -> int | None:
    """The next output of a view after this one; nobody claims it."""
    with database.read() as connection:
        seen = view_of(connection, wanted)
        place = seen.place_of(output_id)
        found = seen.find(place, 1, seconds=None) if place else FoundOutputs((), more=False)
    return found.ids[0] if found.ids else None


def matching_versions(database: Database, wanted: Filter) -> list[tuple[int, int]]:
    """Every output that matches, with its version, in the view's order."""
    with database.read() as connection:
        return view_of(connection, wanted).versions()
