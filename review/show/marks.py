"""Which words of a text are marked, and for what: those that carry a score, those of the blocklist, search hits.

A mark names what it is for; markup is the business of `text_markup`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from contract.blocklist import Blocklist
from contract.policy import BLOCKLIST
from db.work.score_requests import MarkedWords
from review.show.formatting import label

FLOOR = 0.05
"""Words without which no score drops by this much are not marked: smaller changes are the classifier's own noise."""
STRONG_SHARE = 0.5
"""Of the largest drop: words from this share on are highlighted strongly."""
WEAK_SHARE = 0.15
TOP_WORDS = 5


@dataclass(frozen=True, slots=True)
class Mark:
    """A span of a text's characters."""

    start: int
    end: int
    kind: str  # its class in the page: strong, weak, listed, hit
    title: str = ""  # what it is marked for


@dataclass(frozen=True, slots=True)
class Carrier:
    """A word, or words that follow each other, without which a score drops."""

    span: tuple[int, int]
    label: str  # the one that drops most
    drop: float


def carriers(words: MarkedWords | None) -> list[Carrier]:
    """What carries a score, in the order of the text; empty where nothing does, or that is not known."""
    if words is None or words.status != "done":
        return []
    strongest = [
        Carrier(span, *max(((label, drops[place]) for label, drops in words.drops.items()), key=lambda one: one[1]))
        for place, span in enumerate(words.spans)
        if words.drops
    ]
    least = max(FLOOR, WEAK_SHARE * max((one.drop for one in strongest), default=0.0))
    return [one for one in strongest if one.drop >= least]


def top_words(found: Sequence[Carrier], text: str) -> list[tuple[str, Carrier]]:
    """The words that carry most, the first first."""
    chosen = sorted(found, key=lambda one: -one.drop)[:TOP_WORDS]
    return [(text[slice(*one.span)], one) for one in chosen]


def score_marks(found: Sequence[Carrier]) -> list[Mark]:
    """The marks of what carries a score."""
    most = max((one.drop for one in found), default=0.0)
    return [
        Mark(*one.span, "strong" if one.drop >= STRONG_SHARE * most else "weak",
             f"{label(one.label)}: −{one.drop:.2f} without it")
        for one in found
    ]  # fmt: skip


def listed_marks(text: str, reasons: Iterable[str]) -> list[Mark]:
    """The marks of the blocklist's words that flag a text.

    Args:
        reasons: why it is flagged.
    """
    words = [reason.removeprefix(BLOCKLIST) for reason in reasons if reason.startswith(BLOCKLIST)]
    return [Mark(start, end, "listed", f"blocklist: {word}") for start, end, word in Blocklist(words).places(text)]


def laid_over(upper: Sequence[Mark], lower: Iterable[Mark]) -> list[Mark]:
    """All of `upper`, and of `lower` what they leave free."""
    return [*upper, *(part for mark in lower for part in _free(mark, upper))]


def _free(mark: Mark, upper: Sequence[Mark]) -> Iterator[Mark]:
    start = mark.start
    for other in sorted(upper, key=lambda one: one.start):
        if start < other.end and other.start < mark.end:
            if start < other.start:
                yield Mark(start, other.start, mark.kind, mark.title)
            start = max(start, other.end)
    if start < mark.end:
        yield Mark(start, mark.end, mark.kind, mark.title)
