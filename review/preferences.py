"""One reviewer's preferences: light or dark, keys on or off, and the score from which texts are covered.

Kept in a cookie, so that they apply with JavaScript or without.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from contract.errors import UsageError

COOKIE = "inkmill-preferences"  # page.js writes it too
THEMES = ("auto", "light", "dark")
COVER = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """What one reviewer chose."""

    theme: str = "auto"
    keys: bool = True
    cover: float = COVER  # cover texts whose highest score is at least this; above 1 = none

    def covers(self, top_score: float | None, scored: bool) -> bool:
        """Whether a text is covered at first. One that was not scored may contain anything."""
        if self.cover > 1:
            return False
        return not scored if top_score is None else top_score >= self.cover

    def cookie(self) -> str:
        return urlencode({"theme": self.theme, "keys": "on" if self.keys else "off", "cover": f"{self.cover:g}"})


def read_preferences(cookie: str) -> Preferences:
    """Preferences from a cookie; the defaults where it cannot be read."""
    try:
        return changed(Preferences(), dict(parse_qsl(cookie[:200])))
    except UsageError:
        return Preferences()


def changed(current: Preferences, choices: dict[str, str]) -> Preferences:
    """Preferences with some of them replaced.

    Raises:
        UsageError: naming the value that cannot be used.
    """
    theme = choices.get("theme", current.theme)
    if theme not in THEMES:
        raise UsageError(f"theme: {theme[:40]!r} is not one of {', '.join(THEMES)}")
    keys = choices.get("keys", "on" if current.keys else "off")
    if keys not in ("on", "off"):
        raise UsageError(f"keys: {keys[:40]!r} is neither on nor off")
    try:
        cover = float(choices.get("cover", current.cover))
    except ValueError:
        cover = -1.0
    if not 0 <= cover <= 2:
        raise UsageError("cover: must be a score from 0 to 1, or 2 to cover nothing")
    return Preferences(theme=theme, keys=keys == "on", cover=cover)
