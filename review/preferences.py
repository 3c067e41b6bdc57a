"""How one reviewer wants the page: light or dark, keys on or off, from which score on texts are covered.

Kept in a cookie of their browser, so that the page comes as it is wanted, with JavaScript or without.
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
    cover: float = COVER  # texts whose highest score is at least this; above 1 = none

    def covers(self, top_score: float | None, scored: bool) -> bool:
        """Whether a text is covered at first. One that nobody scored may hold anything."""
        if self.cover > 1:
            return False
        return not scored if top_score is None else top_score >= self.cover

    def cookie(self) -> str:
        return urlencode({"theme": self.theme, "keys": "on" if self.keys else "off", "cover": f"{self.cover:g}"})


def stored(cookie: str) -> Preferences:
    """Preferences from a cookie; what cannot be read is as by default."""
    try:
        return changed(Preferences(), dict(parse_qsl(cookie[:200])))
    except UsageError:
        return Preferences()


def changed(now: Preferences, given: dict[str, str]) -> Preferences:
    """Preferences with what was given laid over them.

    Raises:
        UsageError: naming what cannot be used.
    """
    theme = given.get("theme", now.theme)
    if theme not in THEMES:
        raise UsageError(f"theme: {theme[:40]!r} is none of {', '.join(THEMES)}")
    keys = given.get("keys", "on" if now.keys else "off")
    if keys not in ("on", "off"):
        raise UsageError(f"keys: {keys[:40]!r} is neither on nor off")
    try:
        cover = float(given.get("cover", now.cover))
    except ValueError:
        cover = -1.0
    if not 0 <= cover <= 2:
        raise UsageError("cover: must be a score from 0 to 1; 2 covers nothing")
    return Preferences(theme=theme, keys=keys == "on", cover=cover)
