"""A connection to PostgreSQL that tells a server that works from one that says nothing any more.

A statement may take as long as it likes. But where nothing came for a while, a second connection is asked what the
first one's process is doing; where that cannot be told, or it is waiting for us, the first connection is given up.
TCP's own timeouts do not see this: a proxy, a stopped server or a lost route may still acknowledge what it swallows.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Self

import psycopg
from psycopg.errors import _WaitTimeout
from psycopg.waiting import READY_NONE

from common.long_waits import QUIET_SECONDS, tell

LAST_CHANCE_SECONDS = 1.0
"""The answer may have come while the second connection was asked."""


def _resumed(gen: Any) -> Any:
    """A generator of psycopg's that is under way, for another wait, which begins it with None.

    Such a generator expects to hear what its socket is ready for; while a large statement is being sent, it breaks off
    with a TypeError otherwise.
    """
    ready = READY_NONE
    while True:
        try:
            wanted = gen.send(ready)
        except StopIteration as end:
            return end.value
        ready = yield wanted


class _Probe(psycopg.Connection[Any]):
    """A connection none of whose steps takes longer than its connecting might."""

    patience = 5.0

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        return super().wait(gen, interval, self.patience if timeout is None else timeout)


class AttentiveConnection(psycopg.Connection[Any]):
    """A connection that is given up when its server falls silent."""

    patience = 5.0  # seconds without a word before the second connection is made
    _address: tuple[str, dict[str, Any]]

    @classmethod
    def to(cls, patience: float, conninfo: str = "", **options: Any) -> Self:
        """Connects, as `psycopg.connect` does.

        Args:
            patience: seconds of silence; twice that, and a little, until the connection is given up.
        """
        connection = cls.connect(conninfo, **options)
        connection.patience = patience
        connection._address = conninfo, options
        return connection

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Consumes a generator of psycopg's, which speaks with the server.

        Raises:
            psycopg.OperationalError: the server is silent; the connection is closed then.
        """
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        if self.patience > QUIET_SECONDS:
            try:
                return super().wait(gen, interval, QUIET_SECONDS)
            except _WaitTimeout:
                self._tell_who_blocks()
                gen = _resumed(gen)
        while True:
            try:
                return super().wait(gen, interval, self.patience)
            except _WaitTimeout:
                gen = _resumed(gen)
                if self._is_served():
                    continue
            try:
                return super().wait(gen, interval, LAST_CHANCE_SECONDS)
            except _WaitTimeout:
                self.close()
                raise psycopg.OperationalError("the server has fallen silent") from None

    def _is_served(self) -> bool:
        """Whether the server is at work for this connection, or at least nothing says that it is not."""
        try:
            with self._probe() as probe:
                asking = "SELECT pg_backend_pid(), (SELECT state FROM pg_stat_activity WHERE pid = %s)"
                ours, state = probe.execute(asking, [self.info.backend_pid]).fetchone() or (0, None)
                # A pooler in between shows numbers of its own: then nothing can be told.
                return bool(ours != probe.info.backend_pid or state in ("active", "fastpath function call"))
        except psycopg.OperationalError as error:
            return "FATAL" in str(error)  # it answers, if only to turn us away

    def _tell_who_blocks(self) -> None:
        """Says which process holds what this connection waits for, if it waits for a lock."""
        asking = (
            "SELECT a.pid, a.usename, coalesce(nullif(a.application_name, ''), a.backend_type), current_database() "
            "FROM pg_stat_activity a WHERE a.pid = ANY(pg_blocking_pids(%s)) ORDER BY a.pid LIMIT 1"
        )
        with suppress(psycopg.Error), self._probe() as probe:
            found = probe.execute(asking, [self.info.backend_pid]).fetchone()
            if found is not None:
                pid, user, program, name = found
                tell(f"the database {name}: its process {pid} ({program}, user {user}) holds a lock; "
                     f"end it there with SELECT pg_terminate_backend({pid})")  # fmt: skip

    def _probe(self) -> _Probe:
        conninfo, options = self._address
        options = options | {"connect_timeout": max(2, int(self.patience)), "autocommit": True}
        probe = _Probe.connect(conninfo, **options)
        probe.patience = self.patience
        return probe
