"""Durations and times as text: for people, and for machines."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import overload


def duration(seconds: float | None) -> str:
    """Seconds in words: "4.2 s", "40 s", "3 min", "2 h 10 min"; a dash where there are none."""
    if seconds is None:
        return "–"
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def duration_range(low: float, high: float) -> str:
    """An estimate in words: "3 to 5 min", "up to 2 min", "10 to 13 h"; "about 3 min" where both ends read alike."""
    first, last = _roughly(low), _roughly(high)
    if first == last:
        return f"about {last}"
    if low < 0.5:
        return f"up to {last}"
    number, _, unit = first.rpartition(" ")
    one_unit = " " not in number and last.count(" ") == 1 and last.endswith(f" {unit}")
    return f"{number if one_unit else first} to {last}"


def _roughly(seconds: float) -> str:
    """A duration as exact as an estimate can be: no tenths of a second, no minutes beside ten hours."""
    if seconds < 99.5:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 9.75 * 3600:
        return duration(seconds)
    hours = round(seconds / 3600)
    return f"{hours} h" if hours < 48 else f"{round(seconds / 86400)} days"


@overload
def iso(then: float) -> str: ...
@overload
def iso(then: float | None) -> str | None: ...
def iso(then: float | None) -> str | None:
    """A time as ISO 8601 in UTC, to the second; None where there is none."""
    if then is None:
        return None
    return datetime.fromtimestamp(then, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
