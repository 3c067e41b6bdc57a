"""Which characters words are made of: one answer for words that flag a text and for words never to write.

Characters only; how words are found in a text is left to others.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

_SPACELESS = (
    "CJK ", "IDEOGRAPHIC ", "HIRAGANA ", "KATAKANA", "HALFWIDTH KATAKANA", "BOPOMOFO ",
    "THAI ", "LAO ", "KHMER ", "MYANMAR ",
)  # fmt: skip
"""How the Unicode names of characters begin whose script writes no space between words."""


@lru_cache(maxsize=4096)
def is_word_character(character: str) -> bool:
    """Whether it is a letter, a digit or the underscore, in a script that writes spaces between words."""
    if character == "_":
        return True
    if unicodedata.category(character)[0] not in "LN":
        return False
    return not unicodedata.name(character, "").startswith(_SPACELESS)


def is_mark(character: str) -> bool:
    """Whether it sits on the character before it, such as an accent: it is part of a word where that one is."""
    return unicodedata.category(character)[0] == "M"
