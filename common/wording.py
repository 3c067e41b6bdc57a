"""How things are worded for people: nothing but text reaches a terminal, and nouns agree with their numbers.

What is said, and where, is not known here.
"""

from __future__ import annotations

import re

_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal may obey instead of showing it: control characters but for line ends and tabs, what reverses the
order of the characters that follow, and what stands for bytes that are no text."""
_LINE_BREAKS = re.compile("[\t\n\u2028\u2029]")


def visible(text: str) -> str:
    r"""A text with what a terminal may obey spelled out, as JSON would: `\u001b` for an escape character."""
    return text if text.isprintable() else _COMMANDS.sub(_spelled_out, text)


def on_one_line(text: str) -> str:
    r"""A name as part of a line: what is no text in it is spelled out, line ends too, so that it forges no line."""
    return text if text.isprintable() else _LINE_BREAKS.sub(_spelled_out, visible(text))


def folded(text: str, width: int) -> str:
    """A text's beginning on one line, with an ellipsis where it goes on."""
    line = " ".join(text[: 4 * width].split())
    whole = len(text) <= 4 * width and len(line) <= width
    return on_one_line(line) if whole else on_one_line(line[: width - 1].rstrip()) + "…"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: "1 prompt", "2,000 prompts"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _spelled_out(found: re.Match[str]) -> str:
    return {"\n": "\\n", "\t": "\\t"}.get(found[0], f"\\u{ord(found[0]):04x}")
