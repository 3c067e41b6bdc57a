"""A worker's log, where nothing can be written to it."""

from __future__ import annotations

import logging
import os
import sys

import pytest
import structlog
from kombu.exceptions import OperationalError
from redis.exceptions import AuthenticationError, ReadOnlyError

from worker.supervise.consumer import RepeatFilter
from worker.supervise.logs import configure


def test_a_log_line_that_cannot_be_written_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_same_trouble_with_redis_is_logged_once_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    def wrapped() -> OperationalError:
        error = OperationalError("invalid username-password pair or user is disabled.")
        error.__cause__ = AuthenticationError("invalid username-password pair or user is disabled.")
        return error

    logger, once = logging.getLogger("a consumer"), RepeatFilter()
    logger.addFilter(once)
    try:
        for _ in range(5):
            logger.error("consumer: Cannot connect to %s: %s.\n%s\n", "redis://:**@h/0", wrapped(), "Trying again")
        for _ in range(5):
            logger.warning("%s (%r)", "Connection lost", ReadOnlyError("You can't write against a read only replica."))
        logger.warning("something else: %s", 3)
    finally:
        logger.removeFilter(once)
    assert len(caplog.messages) == 3
    assert "rejects the password; set the right one in INKMILL_REDIS_URL" in caplog.messages[0]
    assert "is a read-only replica; point INKMILL_REDIS_URL at its primary" in caplog.messages[1]
    assert caplog.messages[2] == "something else: 3"
