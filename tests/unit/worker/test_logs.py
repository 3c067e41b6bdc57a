"""A worker's log, where nothing can be written to it."""

from __future__ import annotations

import logging
import os
import sys

import pytest
import structlog

from worker.logs import configure


def test_a_line_that_cannot_be_written_ends_nobodys_work(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)  # as hopeless as a full disk
    stream = os.fdopen(writer, "w", buffering=1)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", stream)
        patched.setattr(logging.root, "handlers", [])
        configure()
        try:
            for _ in range(1000):
                structlog.get_logger().warning("waiting for the database")
                logging.getLogger("celery").warning("connection lost")
        finally:
            structlog.reset_defaults()
    os.close(writer)
