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


def one_letter_off(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that `name` is but for one letter, or for capitals.

    Short names have too many neighbours that are words: of four letters or fewer, only capitals and a plural count.
    """
    typed = name.casefold()
    return next((each for each in valid if typed == each or _is_one_letter_off(typed, each)), None)


def _is_one_letter_off(typed: str, valid: str) -> bool:
    if len(valid) < 5:
        return len(valid) > 1 and typed == valid + "s"
    if abs(len(typed) - len(valid)) > 1:
        return False
    shorter, longer = sorted((typed, valid), key=len)
    same = next((at for at, (a, b) in enumerate(zip(shorter, longer, strict=False)) if a != b), len(shorter))
    if len(shorter) < len(longer):
        return shorter[same:] == longer[same + 1 :]
    swapped = shorter[:same] + shorter[same : same + 2][::-1] + shorter[same + 2 :]
    return swapped == longer or shorter[same + 1 :] == longer[same + 1 :]
