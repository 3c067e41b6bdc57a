"""Many ids in few characters: "1-5000,6002". What a form carries when thousands of outputs are meant."""

from __future__ import annotations

from collections.abc import Iterable

from contract.errors import UsageError
from review.form import whole

MOST_IDS = 2_000_000


def packed(ids: Iterable[int]) -> str:
    """Ids as ranges, in order."""
    ranges: list[list[int]] = []
    for number in sorted(set(ids)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def unpacked(text: str) -> list[int]:
    """The ids that `packed` wrote down.

    Raises:
        UsageError: where it is something else.
    """
    ids: list[int] = []
    for part in filter(None, text.split(",")):
        first, dash, last = part.partition("-")
        low = whole(first, "ids")
        high = whole(last, "ids") if dash else low
        if high < low or len(ids) + high - low >= MOST_IDS:
            raise UsageError(f"ids: {part[:40]!r} is no range of outputs")
        ids += range(low, high + 1)
    return ids
