"""Names that were almost right: which valid one was probably meant, and how an error says so."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that `name` was probably meant to be, if one is near."""
    close = difflib.get_close_matches(name.lower(), list(valid), n=1, cutoff=0.7)
    return close[0] if close else None


def did_you_mean(name: str, valid: Iterable[str], otherwise: str) -> str:
    """The end of an error about an unknown name: the valid one that is near, or else `otherwise`."""
    near = nearest(name, valid)
    return f"did you mean {near}?" if near else otherwise
