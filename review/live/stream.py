"""Server-sent events: a page's content is read in a thread and sent when it changes, until the reviewer signs out."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from db.review.sittings import has_ended
from review.context import Page

HEARTBEAT_SECONDS = 15.0
"""Proxies close connections that stay silent for long."""
POLL_SECONDS = 0.25
"""How soon a stream notices that the server is shutting down."""

_LINE_END = re.compile(r"\r\n|\r|\n")


def events(page: Page, read: Callable[[], str], *, seconds: float, event: str = "message") -> StreamingResponse:
    """A stream of what `read` returns, at once and then whenever it changes.

    Args:
        seconds: between two reads.
        event: the name that the page's EventSource listens for.
    """
    return StreamingResponse(
        _changes(page, read, seconds, event), media_type="text/event-stream", headers={"x-accel-buffering": "no"}
    )


async def _changes(page: Page, read: Callable[[], str], seconds: float, event: str) -> AsyncIterator[bytes]:
    last, sent_at = None, time.monotonic()
    while not await run_in_threadpool(_signed_out, page):
        current = await run_in_threadpool(read)
        if current != last:
            last, sent_at = current, time.monotonic()
            yield message(current, event)
        elif time.monotonic() - sent_at > HEARTBEAT_SECONDS:
            sent_at = time.monotonic()
            yield b": heartbeat\n\n"
        if await _closed(page, seconds):
            return


def _signed_out(page: Page) -> bool:
    return page.signed_in is None or has_ended(page.database, page.signed_in.sitting)


async def _closed(page: Page, seconds: float) -> bool:
    """Waits; returns whether the reader has gone or the server is shutting down."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if page.services.config.closing():
            return True
        await asyncio.sleep(POLL_SECONDS)
    return await page.request.is_disconnected()


def message(data: str, event: str) -> bytes:
    """One event in the format of the HTML standard: each line of the data on a `data:` line."""
    lines = "".join(f"data: {line}\n" for line in _LINE_END.split(data))
    return f"event: {event}\n{lines}\n".encode()
