"""Logs of the worker's processes: one line an event, on standard error, never with prompts or passwords."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog

from common.wording import visible


class LossyStream:
    """Standard error, except that a line which cannot be written is dropped: a full disk or a closed pipe under the log
    must not end the work. Names and errors in a line are text to the terminal, whatever they contain.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(visible(text))
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def configure() -> None:
    """Sends structlog's events, from INKMILL_LOG_LEVEL up, and the libraries' warnings to standard error."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%S", utc=False),
    ]
    stream = LossyStream(sys.stderr)
    level = logging.getLevelNamesMapping().get(os.environ.get("INKMILL_LOG_LEVEL", "").upper(), logging.INFO)
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, structlog.dev.ConsoleRenderer(colors=False)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", stream)),
    )
    logging.basicConfig(
        stream=stream, level=logging.WARNING, format="%(asctime)s [%(levelname)s] %(name)s: %(message)s"
    )
