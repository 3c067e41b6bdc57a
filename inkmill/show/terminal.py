"""The way to standard output and standard error for what people read: everything passes here, and only as text.

Data goes another way: `print_json` in `inkmill.show.display`, and exports by `producer.write.new_file`.
"""

from __future__ import annotations

import codecs
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from common.wording import visible

_PLAIN = str.maketrans({"…": "...", "·": "-", "–": "-", "→": "->", "‘": "'", "’": "'", "─": "-"})
"""Marks of ours, for a terminal that lacks them."""
_UNSUITABLE = "inkmill.spelled_out"


class Terminal(Console):
    """A console on which texts of users and models are texts: no escape sequence in them has an effect."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, soft_wrap=True, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


messages = Terminal(stderr=True)
"""Progress and messages go to standard error; standard output is for data. Rich handles NO_COLOR and terminals."""

output = Terminal()
"""What a command was asked for, as people read it, on standard output."""


class Log(logging.Handler):
    """What libraries and servers log, as messages."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            messages.print(self.format(record), markup=False)


def accept_every_character() -> None:
    """Makes standard output and standard error spell out what their encoding lacks, instead of failing over it."""
    codecs.register_error(_UNSUITABLE, _spell_out)
    for stream in _streams():
        with suppress(AttributeError):  # a stand-in for it, which takes any text
            stream.reconfigure(errors=_UNSUITABLE)  # type: ignore[attr-defined]


def _spell_out(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    plain = error.object[error.start : error.end].translate(_PLAIN)
    return plain.encode("ascii", "backslashreplace"), error.end


def flush() -> None:
    """Sends what was printed on its way.

    Raises:
        OSError: it cannot be written.
    """
    for stream in _streams():
        stream.flush()


def discard_the_rest() -> None:
    """Drops what could not be written to a reader that left: or Python would fail over it once more at its end."""
    for stream in _streams():
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


def _streams() -> Iterator[TextIO]:
    """Those that are open."""
    return (stream for stream in (sys.stdout, sys.stderr) if stream is not None)
