"""What Redis says where it does not do as it is told, in words that end with what to do."""

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
        "refuses the password; put the right one into INKMILL_REDIS_URL (redis://:PASSWORD@HOST:6379/0), or, where the "
        "local stack started it, end that with 'inkmill stop'",
    ),
    ((NoPermissionError,), "does not let its user write messages; let it: ACL SETUSER NAME ~* &* +@all"),
    ((OutOfMemoryError,), "has no memory left for messages; raise its limit: CONFIG SET maxmemory 256mb"),
    ((ReadOnlyError,), "is a read-only replica; name its primary in INKMILL_REDIS_URL"),
    ((BusyLoadingError,), "is still loading its data; nothing is to be done but to wait"),
)
BY_CODE = (
    ("MISCONF", "cannot write to its disk, and takes no messages until it can; make room there"),
    ("NOREPLICAS", "takes no messages for as long as its replicas are away; start them"),
    ("MOVED", "is a part of a cluster; INKMILL_REDIS_URL has to name a server of its own"),
    ("CLUSTERDOWN", "is a part of a cluster; INKMILL_REDIS_URL has to name a server of its own"),
)


def describe_refusal(error: BaseException) -> str:
    """What Redis does instead, as the end of a sentence about it."""
    for one in _chain(error):
        for kinds, words in BY_TYPE:
            if isinstance(one, kinds):
                return words
        for code, words in BY_CODE:
            if str(one).startswith(code):
                return words
    said = str(error).strip()
    return f"does not answer: {said.splitlines()[0] if said else type(error).__name__}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what caused it: kombu wraps those of Redis."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
