"""Server-sent events: what a page watches, read in a thread and sent where it changed, until the reader signs out."""

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
"""Proxies close a connection that says nothing for long."""
LOOK_SECONDS = 0.25
"""How soon a stream notices that the server ends."""

_LINE_END = re.compile(r"\r\n|\r|\n")


def events(
    request: Request, read: Callable[[], str | None], *, seconds: float = 2.0, event: str = "message"
) -> StreamingResponse:
    """A stream of what `read` gives, first at once and then wherever it changed; None = nothing to say.

    Args:
        seconds: between two looks.
        event: the name that the page's EventSource listens to.
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
    """Waits; whether the reader has gone or the server ends."""
    closing: Callable[[], bool] = request.app.state.closing
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if closing():
            return True
        await asyncio.sleep(LOOK_SECONDS)
    return await request.is_disconnected()


def message(data: str, event: str) -> bytes:
    """One event as the HTML standard writes it down; every line of the data on a line of its own."""
    lines = "".join(f"data: {line}\n" for line in _LINE_END.split(data))
    return f"event: {event}\n{lines}\n".encode()
