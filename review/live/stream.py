"""Server-sent events: what a page watches is read in a thread and sent when it changes, until the reader signs out."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from db.review.sittings import has_ended
from review.context import Page

HEARTBEAT_SECONDS = 15.0
"""Proxies close connections that stay silent for long."""
LOOK_SECONDS = 0.25
"""How soon a stream notices that the server is shutting down."""

_LINE_END = re.compile(r"\r\n|\r|\n")


def events(
    request: Request, read: Callable[[], str | None], *, seconds: float = 2.0, event: str = "message"
) -> StreamingResponse:
    """A stream of what `read` returns, at once and then whenever it changes; None = nothing to send.

    Args:
        seconds: between two reads.
        event: the name that the page's EventSource listens for.
    """
    return StreamingResponse(
        _changes(request, read, seconds, event), media_type="text/event-stream", headers={"x-accel-buffering": "no"}
    )


async def _changes(
    request: Request, read: Callable[[], str | None], seconds: float, event: str
) -> AsyncIterator[bytes]:
    said, said_at = None, time.monotonic()
    while not await run_in_threadpool(_signed_out, Page(request)):
        now = await run_in_threadpool(read)
        if now is not None and now != said:
            said, said_at = now, time.monotonic()
            yield message(now, event)
        elif time.monotonic() - said_at > HEARTBEAT_SECONDS:
            said_at = time.monotonic()
            yield b": still here\n\n"
        if await _over(request, seconds):
            return


def _signed_out(page: Page) -> bool:
    return page.who is None or has_ended(page.database, page.who.sitting)


async def _over(request: Request, seconds: float) -> bool:
    """Waits; returns whether the reader has gone or the server is shutting down."""
    closing = Page(request).services.config.closing
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if closing():
            return True
        await asyncio.sleep(LOOK_SECONDS)
    return await request.is_disconnected()


def message(data: str, event: str) -> bytes:
    """One event in the format of the HTML standard: each line of the data on a `data:` line."""
    lines = "".join(f"data: {line}\n" for line in _LINE_END.split(data))
    return f"event: {event}\n{lines}\n".encode()
