"""Reads request bodies within limits of size and time; nothing is parsed here."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Receive


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a body."""

    longest: int  # bytes that are kept
    drained: int  # bytes read of a longer one, so that the browser reads the error
    seconds: float  # until it has arrived


STRANGERS = Limits(longest=4 * 2**10, drained=4 * 2**10, seconds=10)
"""The sign-in form has one field."""
REVIEWERS = Limits(longest=4 * 2**20, drained=64 * 2**20, seconds=60)
"""The longest edited text, each character percent-encoded, and some room."""


class BadBody(Exception):
    """A body that is rejected."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def is_announced(headers: Headers) -> bool:
    """Whether a request has a body at all."""
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


async def read_body(headers: Headers, receive: Receive, limits: Limits) -> bytes:
    """The whole body.

    Raises:
        BadBody: it is too long, too slow or incomplete.
    """
    if _length(headers) > limits.drained:
        raise BadBody(413, "too long")
    try:
        async with asyncio.timeout(limits.seconds):
            return await _read_all(receive, limits)
    except TimeoutError:
        raise BadBody(408, "too slow") from None


def _length(headers: Headers) -> int:
    length = headers.get("content-length", "")
    return int(length[:12]) if length.isascii() and length.isdecimal() else 0


async def _read_all(receive: Receive, limits: Limits) -> bytes:
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise BadBody(400, "cut off")
        part, more = message.get("body", b""), message.get("more_body", False)
        size += len(part)
        if size > limits.drained:
            break
        parts.append(part)
        if size > limits.longest:
            parts.clear()
    if size > limits.longest:
        raise BadBody(413, "too long")
    return b"".join(parts)
