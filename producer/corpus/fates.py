"""What becomes of each document: trained with, held back for validation, cut in two, or left out.

Decided by the documents' hashes and lengths alone, so that the same corpus is divided alike everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from producer.corpus.survey import Survey, chunks

KEYS_AT_ONCE = 1 << 19
LONG = 1 << 16
"""Characters: only what is longer is cut where there are other documents."""


class Fate(IntEnum):
    """What becomes of a document."""

    TRAIN = 0
    VALIDATION = 1
    CUT = 2  # its end is held back for validation, and the rest is trained with
    DUPLICATE = 3
    EMPTY = 4


class Decision(NamedTuple):
    """What was decided of a document."""

    fate: Fate
    characters: int
    plain: bool  # all of it is to be learned


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Division:
    """The fates of all documents."""

    rows: NDArray[Any]
    fates: NDArray[np.uint8]
    counts: dict[Fate, int]
    characters: int  # of those that are used

    def decisions(self) -> Iterator[Decision]:
        """What was decided of each document, in the order of reading."""
        for here, chunk in chunks(self.rows):
            known = (self.fates[here].tolist(), chunk["characters"].tolist(), chunk["plain"].tolist())
            for fate, characters, plain in zip(*known, strict=True):
                yield Decision(Fate(fate), characters, bool(plain))


def divide(survey: Survey, share: float, validation_files: int) -> Division:
    """Decides.

    Args:
        share: of the corpus that is held back for validation, where there are no files for that.
        validation_files: so many files at the beginning are for validation, and the rest is not.
    """
    rows, fates = survey.rows(), survey.new_column()
    for here, chunk in chunks(rows):
        fates[here] = np.where(chunk["characters"] == 0, Fate.EMPTY, Fate.TRAIN)
    _mark_duplicates(rows, fates)
    characters = _characters(rows, fates, Fate.TRAIN)
    if validation_files:
        for here, chunk in chunks(rows):
            fates[here][(chunk["file"] < validation_files) & (fates[here] == Fate.TRAIN)] = Fate.VALIDATION
    elif share:
        _hold_back(rows, fates, share, characters)
    counts = {fate: sum(int(np.count_nonzero(chunk == fate)) for _, chunk in chunks(fates)) for fate in Fate}
    return Division(rows=rows, fates=fates, counts=counts, characters=characters)


def _characters(rows: NDArray[Any], fates: NDArray[np.uint8], fate: Fate) -> int:
    return sum(int(chunk["characters"][fates[here] == fate].sum()) for here, chunk in chunks(rows))


def _mark_duplicates(rows: NDArray[Any], fates: NDArray[np.uint8]) -> None:
    """Every document but the first of the same text. One range of keys after the other is looked at, so that few are in
    memory at once."""
    buckets = np.uint64(-(-len(rows) // KEYS_AT_ONCE))
    for bucket in range(int(buckets)):
        found = []
        for here, chunk in chunks(rows):
            inside = (chunk["high"] % buckets == bucket) & (chunk["characters"] > 0)
            found.append(here.start + np.flatnonzero(inside))
        places = np.concatenate(found)
        keys = rows[places]
        order = np.lexsort((places, keys["low"], keys["high"]))
        keys, places = keys[order], places[order]
        same = (keys["low"][1:] == keys["low"][:-1]) & (keys["high"][1:] == keys["high"][:-1])
        fates[places[1:][same]] = Fate.DUPLICATE


def _hold_back(rows: NDArray[Any], fates: NDArray[np.uint8], share: float, characters: int) -> None:
    """Holds back documents by their hash. What is long, and longer than all that is to be held back, is cut instead:
    held back in full it would be missing from the training."""
    limit, longest = np.uint64(min(share, 1.0) * 2.0**64 - 1), max(LONG, int(share * characters))
    for here, chunk in chunks(rows):
        used = fates[here] == Fate.TRAIN
        cut = used & (chunk["characters"] > longest) & (chunk["plain"] > 0)
        fates[here][used & ~cut & (chunk["low"] < limit)] = Fate.VALIDATION
        fates[here][cut] = Fate.CUT
    held_back = _characters(rows, fates, Fate.VALIDATION)
    if 2 * held_back > characters or (not held_back and not any(np.any(c == Fate.CUT) for _, c in chunks(fates))):
        _hold_back_one(rows, fates, characters)


def _hold_back_one(rows: NDArray[Any], fates: NDArray[np.uint8], characters: int) -> None:
    """Of a few documents one alone, the first by its hash that is not most of the corpus; a single one is cut."""
    best: tuple[int, int] | None = None
    used, count = (Fate.TRAIN, Fate.VALIDATION), 0
    for here, chunk in chunks(rows):
        known = np.isin(fates[here], used)
        count += int(np.count_nonzero(known))
        fates[here][known] = Fate.TRAIN
        places = np.flatnonzero(known & (2 * chunk["characters"] <= characters))
        if len(places):
            place = places[np.argmin(chunk["low"][places])]
            best = min(filter(None, (best, (int(chunk["low"][place]), here.start + int(place)))))
    if best is not None:
        fates[best[1]] = Fate.VALIDATION
    elif count == 1:
        only = next(here.start + int(np.flatnonzero(c == Fate.TRAIN)[0]) for here, c in chunks(fates) if not c.all())
        fates[only] = Fate.CUT if rows[only]["plain"] else Fate.TRAIN
