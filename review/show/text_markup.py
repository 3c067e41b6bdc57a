"""Generated texts as markup: escaped, invisible characters made visible, spans highlighted.

A text may contain anything: markup, terminal sequences, characters that reverse the reading direction.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from markupsafe import Markup, escape

from review.show.marks import Mark

SHOWN_CHARACTERS = 20_000
"""A longer text is cut: no browser lays out a hundred thousand characters quickly."""

# C0 but tab and line feed, DEL, C1; soft hyphen; bidi marks, embeddings, overrides and isolates; invisible operators,
# zero-width spaces, line and paragraph separators, annotation marks, tags. The joiners U+200C and U+200D stay:
# Persian words and emoji need them.
_UNSEEN = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\xad\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180e\\u200b\\u200e\\u200f"
    "\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufeff\\uffa0\\ufff9-\\ufffb\\U000e0000-\\U000e007f]"
)


def visible(text: str) -> Markup:
    """An escaped text; each invisible character becomes a small label with its code and, as a tooltip, its name."""
    return Markup(_UNSEEN.sub(_label, str(escape(text))))  # noqa: S704 - escaped just here


def plain(text: str) -> str:
    """A text with invisible characters as codes, for places that take no markup: options and attributes."""
    return _UNSEEN.sub(lambda match: f"‹U+{ord(match[0]):04X}›", text)


def _label(match: re.Match[str]) -> str:
    code = f"U+{ord(match[0]):04X}"
    name = unicodedata.name(match[0], "control character")
    return f'<span class="unseen" title="{code} {name}">{code}</span>'


def marked(text: str, spans: Iterable[tuple[int, int]]) -> Markup:
    """A text with spans of its characters in <mark>: where a search hit."""
    return marked_for(text, [Mark(start, end, "hit") for start, end in spans])


def marked_for(text: str, marks: Iterable[Mark]) -> Markup:
    """A text with marks on its characters. Those that overlap an earlier one or lie outside are skipped."""
    parts, at = [], 0
    for mark in sorted(marks, key=lambda one: (one.start, one.end)):
        if mark.start < at or mark.end > len(text) or mark.start >= mark.end:
            continue
        parts += [visible(text[at : mark.start]), _marked(text[mark.start : mark.end], mark)]
        at = mark.end
    return Markup("").join([*parts, visible(text[at:])])


def _marked(text: str, mark: Mark) -> Markup:
    title = Markup(' title="{}"').format(plain(mark.title)) if mark.title else ""
    return Markup('<mark class="{}"{}>{}</mark>').format(mark.kind, title, visible(text))
