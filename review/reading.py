"""How a reviewer reads texts: which are covered at first, which have been on the screen, what of many was not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from contract.errors import UsageError
from contract.review import UNREAD, Seen
from contract.spec import Safety
from db.review.detail import read_output
from db.review.looks import Standing, note_looks, standing_of
from review.context import Page
from review.security.form import Form
from review.show.selection import DAMAGED, unpacked

MOST_LOOKS, LAST_REVISION = 500, 2**31 - 1
"""What a page of the table can hold, and the database."""


def covers(page: Page, top_score: float | None, safety: str) -> bool:
    """Whether a text is covered until it is revealed."""
    # Where a job has a classifier, a text without a score is not scored yet, or was edited since.
    return page.preferences.covers(top_score, scored=safety == Safety.NONE)


def read_seen(value: str) -> Seen | None:
    """How a form says that its text was seen; None where it does not say.

    Raises:
        UsageError: it says something else.
    """
    try:
        return Seen(value) if value else None
    except ValueError:
        raise UsageError(f"seen: {value[:40]!r} is not one of {', '.join(Seen)}") from None


def note_looks_of(page: Page, form: Form) -> None:
    """Notes the texts that a form says have been on the screen: one, or those of a page of the table.

    Raises:
        NoSuchOutput: there is none with that number.
        UsageError: the form says something else.
    """
    seen, output = read_seen(form.one("seen")), form.number("looked")
    if output is not None and seen in (Seen.SHOWN, Seen.REVEALED):
        note_looks(page.database, page.reviewer, {output: read_output(page.database, output).revision}, seen)
    for field_name, kind in (("listed", Seen.LISTED), ("revealed", Seen.REVEALED)):
        if packed_rows := form.one(field_name):
            revisions = unpacked(packed_rows)
            if len(revisions) > MOST_LOOKS or max(revisions.values()) > LAST_REVISION:
                raise UsageError(DAMAGED)
            note_looks(page.database, page.reviewer, revisions, kind)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reviewer knows of many texts that they are about to decide."""

    looks: dict[int, Seen]
    covered: int  # until they are revealed
    others: Counter[str] = field(default_factory=Counter)  # decided by colleagues

    @property
    def unread(self) -> int:
        """Those whose text has been on no page that the reviewer opened."""
        return sum(seen in UNREAD for seen in self.looks.values())


def read_by(page: Page, ids: Sequence[int]) -> Reading:
    """How the reviewer has seen each of many texts."""
    looks: dict[int, Seen] = {}
    covered, others = 0, Counter[str]()
    for one in standing_of(page.database, page.reviewer, ids):
        under_cover = covers(page, one.top_score, one.safety)
        looks[one.output_id] = _seen(one, under_cover)
        covered += under_cover
        if one.decided_by not in (None, page.reviewer):
            others[str(one.decided_by)] += 1
    return Reading(looks, covered, others)


def _seen(one: Standing, under_cover: bool) -> Seen:
    # What was only listed before it was covered was not revealed.
    if one.seen is not None and not (under_cover and one.seen is Seen.LISTED):
        return one.seen
    return Seen.COVERED if under_cover else Seen.UNOPENED
