"""Errors of Redis as ends of a sentence about it, with what to do."""

from __future__ import annotations

import ssl
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
BY_TLS_REASON = (
    (
        ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF_WHILE_READING", "PACKET_LENGTH_TOO_LONG"),
        "speaks no TLS on that port; use redis:// instead of rediss://, or the port on which it does",
    ),
    (
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE", "SSLV3_ALERT_BAD_CERTIFICATE"),
        "asks for a certificate of ours; name it and its key in the URL: ?ssl_certfile=FILE&ssl_keyfile=FILE",
    ),
    (
        ("TLSV1_ALERT_UNKNOWN_CA", "SSLV3_ALERT_CERTIFICATE_EXPIRED", "SSLV3_ALERT_CERTIFICATE_UNKNOWN"),
        "does not trust the certificate that ssl_certfile in the URL names; use one that its authority has signed",
    ),
    (
        ("NO_CERTIFICATE_OR_CRL_FOUND", "NO_START_LINE", "KEY_VALUES_MISMATCH", "PEM_LIB", "BAD_BASE64_DECODE"),
        "was not asked: a file that the URL names for TLS (ssl_ca_certs, ssl_certfile, ssl_keyfile) is not in PEM, or "
        "certificate and key do not belong together",
    ),
)
"""By the names that OpenSSL has for what went wrong, or that its text has."""


def describe_refusal(error: BaseException) -> str:
    """How Redis refused, as the end of a sentence that begins with its address."""
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLError):
            return _tls_refusal(cause)
        for kinds, words in BY_TYPE:
            if isinstance(cause, kinds):
                return words
        for code, words in BY_CODE:
            if str(cause).startswith(code):
                return words
    message = str(error).strip()
    return f"does not answer: {message.splitlines()[0] if message else type(error).__name__}"


def hangs_up(error: BaseException) -> bool:
    """Whether the server ended the connection, as one that speaks TLS does with whoever does not."""
    return any(isinstance(cause, ConnectionResetError) or "closed by server" in str(cause) for cause in _chain(error))


def _tls_refusal(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message.rstrip(".")
        if "mismatch" in why:
            return f"has a certificate for another host ({why}); use the host in its certificate"
        return (
            f"has a certificate that is not trusted: certificate verify failed ({why}); name the certificate of the "
            "authority that signed it in the URL: ?ssl_ca_certs=FILE"
        )
    reason = error.reason or str(error)
    said = next((words for names, words in BY_TLS_REASON if any(name in reason for name in names)), None)
    return said or f"cannot be spoken to over TLS: {reason}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes: kombu wraps those of Redis."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
