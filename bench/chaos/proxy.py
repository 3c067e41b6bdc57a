"""A proxy that can stop answering: it still accepts, still reads, and lets nothing through in either direction."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress

from bench.chaos.servers import free_port

READ_BYTES = 65536


class SwallowingProxy:
    """A port of the loopback before one server; every connection has a thread of its own."""

    def __init__(self, target: int | str) -> None:
        """
        Args:
            target: the server's port, or the path of its Unix socket.
        """
        self.port, self._target = free_port(), target
        self._swallows = threading.Event()
        self._connections: set[_Pair] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def swallow(self) -> None:
        """From now on nothing comes through, and nobody is told."""
        self._swallows.set()

    def break_all(self) -> None:
        """No connection that is open now will ever get an answer again."""
        with self._lock:
            for pair in self._connections:
                pair.broken = True

    def let_through(self, *, cut: bool = True) -> None:
        """New connections work again.

        Args:
            cut: end those that lost bytes. Otherwise they stay as they are, dead, and nobody is told.
        """
        self._swallows.clear()
        if not cut:
            return
        with self._lock:
            broken = [pair for pair in self._connections if pair.broken]
        for pair in broken:
            pair.cut()

    def close(self) -> None:
        self._listener.close()
        with self._lock:
            pairs = list(self._connections)
        for pair in pairs:
            pair.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        pair = _Pair(client, self._swallows)
        with self._lock:
            self._connections.add(pair)
        try:
            pair.run(self._target)
        finally:
            pair.cut()
            with self._lock:
                self._connections.discard(pair)


class _Pair:
    """One client's connection, and ours to the server, which is made once something may come through."""

    def __init__(self, client: socket.socket, swallows: threading.Event) -> None:
        self._client, self._swallows = client, swallows
        self._server: socket.socket | None = None
        self.broken = False  # bytes were swallowed

    def run(self, target: int | str) -> None:
        with suppress(OSError, ValueError):
            if not self._swallows.is_set():
                self._server = _connected(target)
            else:
                self.broken = True
            ends = [end for end in (self._client, self._server) if end is not None]
            while self._pass_on(ends):
                pass

    def _pass_on(self, ends: list[socket.socket]) -> bool:
        """Moves what has come. Returns whether both ends are still there."""
        readable, _, _ = select.select(ends, [], [])
        for end in readable:
            data = end.recv(READ_BYTES)
            if not data:
                return False
            if self._swallows.is_set() or self.broken or self._server is None:
                self.broken = True
            else:
                (self._server if end is self._client else self._client).sendall(data)
        return True

    def cut(self) -> None:
        for end in (self._client, self._server):
            if end is not None:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()


def _connected(target: int | str) -> socket.socket:
    if isinstance(target, int):
        return socket.create_connection(("127.0.0.1", target), timeout=5)
    server = socket.socket(socket.AF_UNIX)
    server.connect(target)
    return server
