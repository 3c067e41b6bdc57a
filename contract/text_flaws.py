"""What makes a text worthless whatever it says: it is empty, it was cut, or it repeats itself; or worth little: it
stands in the training text already.

Judges one text by itself; what is done about it is for others.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum

REPEATS = 3
REPEATED_CHARACTERS = 40
_PROBE_CHARACTERS = 20
"""The end of a text that is looked for further ahead: so short that it recurs within any repetition that counts."""
LONG_RUN = 32
"""So many tokens in a row that stand in the training text are told: chance alone writes hardly any such run."""

_VISIBLE_ASCII = re.compile("[!-~]")
_INVISIBLE_CATEGORIES = ("C", "Z")  # controls and formats, spaces and separators
_BLANK_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters, marks and symbols that have no shape: joiners, fillers, the empty Braille pattern."""


class TextFlaw(StrEnum):
    """A flaw, by the name that it has in `--without` and in a job's status."""

    EMPTY = "empty"  # no visible character
    CUT = "cut"  # ended by max_new_tokens or the model's window, not by the model or a stop string
    REPEATING = "repeating"  # ends in the same piece, at least `REPEATS` times and over `REPEATED_CHARACTERS` in all


def text_flaws(text: str, finish_reason: str, *, edited: bool) -> set[TextFlaw]:
    """The flaws of a text.

    Args:
        edited: a person wrote it, so that nothing cut it.
    """
    flaws = set()
    if not has_visible_character(text):
        flaws.add(TextFlaw.EMPTY)
    if finish_reason == "length" and not edited:
        flaws.add(TextFlaw.CUT)
    if ends_in_repeats(text):
        flaws.add(TextFlaw.REPEATING)
    return flaws


def has_visible_character(text: str) -> bool:
    """Whether anything of `text` can be seen."""
    return bool(_VISIBLE_ASCII.search(text)) or any(map(_is_visible, text))


def _is_visible(character: str) -> bool:
    if character in _BLANK_LETTERS or "\ufe00" <= character <= "\ufe0f":  # variation selectors
        return False
    category = unicodedata.category(character)
    return category == "Co" or not category.startswith(_INVISIBLE_CATEGORIES)


def ends_in_repeats(text: str) -> bool:
    """Whether `text`, but for white space at its end, ends in a piece that stands there again and again.

    The last of them may be cut short. A piece of any length counts.
    """
    text = text.rstrip()
    # Where a piece recurs at a distance, so do the text's last characters: looking for those is fast.
    probe_at = len(text) - _PROBE_CHARACTERS
    found = text.rfind(text[probe_at:], 0, len(text) - 1) if probe_at > 0 else -1
    while found >= 0:
        distance = probe_at - found
        length = max(REPEATS * distance, REPEATED_CHARACTERS)
        if length > len(text):
            return False
        if text[-length:-distance] == text[distance - length :]:
            return True
        found = text.rfind(text[probe_at:], 0, found + _PROBE_CHARACTERS - 1)
    return False
