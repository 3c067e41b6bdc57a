"""Numbers and times for people to read."""

from __future__ import annotations

import time
from datetime import datetime

from common.times import duration


def number(value: float | None) -> str:
    """1,234; a dash for None."""
    return "–" if value is None else f"{value:,.0f}"


def score(value: float | None) -> str:
    """A probability to two places; 1.00 only where it is exactly 1."""
    if value is None:
        return "–"
    return f"{min(value, 0.99) if value < 1 else value:.2f}"


def at_least(seconds: float | None, capped: bool) -> str:
    """A duration in words, with a plus where it may be longer."""
    return duration(seconds) + ("+" if capped and seconds is not None else "")


def ago(then: float | None, now: float | None = None) -> str:
    """How long ago a time was, in words; its date where that is over a day."""
    if then is None:
        return "–"
    passed = (time.time() if now is None else now) - then
    if passed < 60:
        return "just now"
    if passed < 86400:
        return f"{duration(passed)} ago" if passed >= 100 else "a minute ago"
    return at(then)


def at(then: float | None) -> str:
    """A time in the server's time zone, to the minute."""
    return "–" if then is None else datetime.fromtimestamp(then).strftime("%Y-%m-%d %H:%M")


def at_offset(then: float | None) -> str:
    """The same with its offset from UTC, for readers elsewhere."""
    local = None if then is None else datetime.fromtimestamp(then).astimezone()
    return "–" if local is None else f"{local:%Y-%m-%d %H:%M} {local.isoformat()[-6:]}"


def whose(mine: bool) -> str:
    """Whose figure it is."""
    return "Your" if mine else "Everyone’s"


def label(name: str) -> str:
    """A label or a flag reason, for people."""
    word, colon, rest = name.partition(":")
    return f"word “{rest}”" if colon and word == "blocklist" else name.replace("_", " ")
