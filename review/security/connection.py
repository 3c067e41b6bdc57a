"""A browser's connection, limited while it is unauthenticated: in time, in bytes, and in number.

uvicorn limits none of this: a first request may take for ever, and its `limit_concurrency` would turn reviewers away.
The guard knows who is signed in, and tells the connection.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

STRANGER_SECONDS = 20.0
"""For one unauthenticated request: until it has arrived, is answered and the response is read."""
MOST_STRANGERS = 128
"""Or a quarter of the process's file limit, where that is less. One more, and the oldest is closed."""
READ_BYTES = 16 * 2**10
"""Read from one connection before the next one's turn; request headers may have twice as much."""


class Strangers:
    """The connections whose current request is unauthenticated so far, the oldest first."""

    def __init__(self) -> None:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.most = MOST_STRANGERS if files == resource.RLIM_INFINITY else min(MOST_STRANGERS, max(files // 4, 1))
        self._ends: dict[Connection, asyncio.TimerHandle] = {}

    def enter(self, connection: Connection) -> None:
        """The connection waits for a request from now on."""
        self.leave(connection)
        if len(self._ends) >= self.most:
            self._cut_off(next(iter(self._ends)))
        self._ends[connection] = connection.loop.call_later(STRANGER_SECONDS, self._cut_off, connection)

    def leave(self, connection: Connection) -> None:
        """It belongs to a reviewer, or has closed."""
        if connection in self._ends:
            self._ends.pop(connection).cancel()

    def _cut_off(self, connection: Connection) -> None:
        self.leave(connection)
        connection.transport.abort()  # a client that does not read would never let it close


class Connection(H11Protocol):
    """A connection that the guard can mark as a reviewer's, for one request."""

    def __init__(
        self,
        strangers: Strangers,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._strangers = strangers
        super().__init__(config, server_state, {**app_state, "connection": self}, _loop)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # asyncio's own buffer is 256 KB: 0.2 s of parsing when it is all tiny chunks.
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]
        super().connection_made(transport)
        self._strangers.enter(self)

    def is_a_reviewers(self) -> None:
        """Its current request is from a signed-in reviewer."""
        self._strangers.leave(self)

    def on_response_complete(self) -> None:
        self._strangers.enter(self)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._strangers.leave(self)
        super().connection_lost(exc)
