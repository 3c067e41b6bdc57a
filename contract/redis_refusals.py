"""Errors of Redis as ends of a sentence about it, with what to do."""

from __future__ import annotations

from collections.abc import Iterator

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
)

BY_TYPE: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    (
        (AuthenticationError, AuthorizationError),
        "rejects the password; set the right one in INKMILL_REDIS_URL (redis://:PASSWORD@HOST:6379/0), or, if the "
        "local stack started it, run 'inkmill stop'",
    ),
    ((NoPermissionError,), "does not allow this user to write messages; allow it: ACL SETUSER NAME ~* &* +@all"),
    ((OutOfMemoryError,), "has no memory left for messages; raise its limit: CONFIG SET maxmemory 256mb"),
    ((ReadOnlyError,), "is a read-only replica; point INKMILL_REDIS_URL at its primary"),
    ((BusyLoadingError,), "is still loading its data; wait until it has finished"),
)
BY_CODE = (
    ("MISCONF", "cannot write to its disk, and accepts no messages until it can; free some space there"),
    ("NOREPLICAS", "accepts no messages while its replicas are down; start them"),
    ("MOVED", "is part of a cluster; point INKMILL_REDIS_URL at a standalone server"),
    ("CLUSTERDOWN", "is part of a cluster; point INKMILL_REDIS_URL at a standalone server"),
)


def describe_refusal(error: BaseException) -> str:
    """How Redis refused, as the end of a sentence that begins with its address."""
    for cause in _chain(error):
        for kinds, words in BY_TYPE:
            if isinstance(cause, kinds):
                return words
        for code, words in BY_CODE:
            if str(cause).startswith(code):
                return words
    message = str(error).strip()
    return f"does not answer: {message.splitlines()[0] if message else type(error).__name__}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes: kombu wraps those of Redis."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
