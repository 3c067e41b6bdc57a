"""What reviewing is about: the states an output can be in for people, what they can do, and which outputs they ask for.

Values alone; nothing is known of SQL, of pages or of files.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from contract.errors import UsageError
from contract.policy import LABELS, unknown_label

LONGEST_NAME = 100
LONGEST_REASON = 2000
LONGEST_TEXT = 200_000
LONGEST_QUERY = 500
LONGEST_VALUE = 5000
"""Characters of a filter's other values: SQLite compares patterns of up to 50,000 bytes, and a path may have 4096."""


class Action(StrEnum):
    """What a person does to an output."""

    APPROVE = "approve"
    REJECT = "reject"
    EDIT = "edit"  # with another text
    UNDO = "undo"  # a new entry that takes the last one back


class State(StrEnum):
    """Where an output stands with people; a filter names one of these, or one of `StateFilter`'s others."""

    UNFLAGGED = "unflagged"  # nobody has to look at it, and nobody decided
    PENDING = "pending"  # flagged, undecided
    APPROVED = "approved"
    REJECTED = "rejected"
    EDITED = "edited"  # edited, and scored again: counts as approved
    WAITING = "waiting"  # edited, its new text not scored yet: counts for nothing


APPROVED_STATES = (State.APPROVED, State.EDITED)
DECIDED_STATES = (State.APPROVED, State.REJECTED, State.EDITED, State.WAITING)


class Seen(StrEnum):
    """How a text was seen by whoever decided it. Scripts do not say."""

    SHOWN = "shown"  # it stood open
    REVEALED = "revealed"  # it was covered, and revealed
    LISTED = "listed"  # its beginning stood in the table
    COVERED = "covered"  # it was, and stayed so
    UNOPENED = "unopened"  # one of many, on no page that was looked at


UNREAD = (Seen.COVERED, Seen.UNOPENED)


class StateFilter(StrEnum):
    """Which outputs a view shows, by their state."""

    PENDING = "pending"
    FLAGGED = "flagged"  # decided or not
    APPROVED = "approved"
    REJECTED = "rejected"
    EDITED = "edited"
    WAITING = "waiting"
    DECIDED = "decided"
    UNFLAGGED = "unflagged"
    ALL = "all"


class Order(StrEnum):
    """What comes first."""

    SCORE = "score"  # the highest score
    LABEL = "label"  # the filter's label, nearest its threshold
    OLDEST = "oldest"
    RANDOM = "random"  # by a key drawn once for each output: the same order at every look


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which outputs a view shows, and in which order. None = whatever it is."""

    job: int | None = None
    model: str | None = None
    label: str | None = None  # a label of `contract.policy.LABELS`, for `low`, `high` and Order.LABEL
    low: float | None = None  # the label's score is at least this
    high: float | None = None  # and below this; 1 takes 1 in
    reason: str | None = None  # a flag reason; "blocklist" = any word of a blocklist
    state: StateFilter = StateFilter.PENDING
    reviewer: str | None = None  # whose decision stands
    query: str | None = None  # words in custom_id, prompt, text or metadata; "a phrase", a beginn*
    order: Order = Order.SCORE

    @property
    def of_everything(self) -> bool:
        """Whether texts are asked for that nobody has to look at, by nothing that only those of the queue have."""
        everything = self.state in (StateFilter.ALL, StateFilter.UNFLAGGED)
        return everything and not (self.reviewer or self.reason)

    @property
    def orders(self) -> tuple[Order, ...]:
        """The orders that have an effect: everything is listed from the oldest on, and a threshold is a label's."""
        if self.of_everything:
            return (Order.OLDEST,)
        return tuple(order for order in Order if order is not Order.LABEL or self.label)

    def __post_init__(self) -> None:
        for name in ("model", "label", "reason", "reviewer", "query"):
            _check_value(name, getattr(self, name))
        if self.label is not None and self.label not in LABELS:
            raise UsageError(f"label: {unknown_label(self.label)}")
        if self.label is None and (self.low is not None or self.high is not None or self.order is Order.LABEL):
            raise UsageError("label: a score range or the order by label needs a label")
        for name, value in (("low", self.low), ("high", self.high)):
            if value is not None and not 0 <= value <= 1:
                raise UsageError(f"{name}: must be from 0 to 1, not {value:g}")


def _check_value(name: str, value: str | None) -> None:
    """Raises UsageError where no database can be asked for it."""
    checked_text(name, value, LONGEST_QUERY if name == "query" else LONGEST_VALUE)
    if "\0" in (value or ""):
        raise UsageError(f"{name}: contains U+0000, which no stored text contains")


def checked_text(field: str, text: str | None, longest: int) -> str | None:
    """A person's text; None where there is nothing in it.

    Raises:
        UsageError: where it is too long, or is no text.
    """
    if not text:
        return None
    if len(text) > longest:
        raise UsageError(f"{field}: has {len(text):,} characters; at most {longest:,} are allowed")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{field}: contains half a character (a lone surrogate), which is not valid text") from None
    return text


def checked_name(name: str) -> str:
    """A reviewer's name, trimmed.

    Raises:
        UsageError: where it cannot be one.
    """
    name = name.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise UsageError(
            f"{name[:LONGEST_NAME]!r} is not a reviewer's name; use 1 to {LONGEST_NAME} printable characters"
        )
    return name
