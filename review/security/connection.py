"""One connection of a browser, bounded while nobody knows whose it is: its time, its bytes, and how many there are.

uvicorn bounds none of this: a first request may take for ever, and its `limit_concurrency` would turn reviewers away.
Who is signed in is known to the guard, which says so to the connection.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

STRANGER_SECONDS = 20.0
"""What one request of a stranger may take: until it is there, is answered and the answer is read."""
MOST_STRANGERS = 128
"""Or a quarter of the files that this process may open, where that is less. One more, and the oldest is cut off."""
READ_BYTES = 16 * 2**10
"""What is read of one connection before it is the next one's turn; heads of requests may have twice as much."""


class Strangers:
    """The connections whose present request is nobody's so far, the oldest first."""

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
        """It is a reviewer's, or is gone."""
        if connection in self._ends:
            self._ends.pop(connection).cancel()

    def _cut_off(self, connection: Connection) -> None:
        self.leave(connection)
        connection.transport.abort()  # who does not read would never let it be closed


strangers = Strangers()
"""Of this process: it has one server."""


class Connection(H11Protocol):
    """A connection that the guard can name a reviewer's, for as long as one request takes."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, {**app_state, "connection": self}, _loop)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # asyncio's own buffer is 256 KB: a fifth of a second's parsing where it is all tiny chunks.
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]
        super().connection_made(transport)
        strangers.enter(self)

    def is_a_reviewers(self) -> None:
        """The request that it brings now is from somebody who is signed in."""
        strangers.leave(self)

    def on_response_complete(self) -> None:
        strangers.enter(self)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        strangers.leave(self)
        super().connection_lost(exc)
