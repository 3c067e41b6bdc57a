"""Logs of the worker's processes: one line an event, on standard error. Prompt texts and passwords never go in."""

from __future__ import annotations

import logging
import os
import sys

import structlog


def configure() -> None:
    """INKMILL_LOG_LEVEL says how much. Sends structlog's events and the libraries' own warnings to standard error."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%S", utc=False),
    ]
    level = logging.getLevelNamesMapping().get(os.environ.get("INKMILL_LOG_LEVEL", "").upper(), logging.INFO)
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, structlog.dev.ConsoleRenderer(colors=False)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s [%(levelname)s] %(name)s: %(message)s"
    )
