"""One process that asks every second how a job and all jobs stand, until its standard input ends.

`python -m bench.load.status_poller URL [first]`; with `first` it and the PostgreSQL process that serves it get
real-time priority, so that the database is measured and not the queue for the processor.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import orjson

from bench.load.status_polls import StatusPoll
from bench.processes import real_time_priority
from db.jobs.status import snapshot, snapshots
from db.jobs.waiting import waiting_for
from db.session.engine import Database, open_database

SECONDS = 1.0


def main() -> None:
    url, *flags = sys.argv[1:]
    database = open_database(url)
    server = _server(database)
    found: dict[str, list[StatusPoll]] = {"jobs": [], "status": []}

    def timed(name: str, look: Callable[[], object]) -> None:
        queued, at = _queued_ms(server), time.monotonic()
        look()
        found[name].append(StatusPoll(at, 1000 * (time.monotonic() - at), _queued_ms(server) - queued))

    with ExitStack() as stack:
        if flags:
            stack.enter_context(real_time_priority(server))
        print("ready", flush=True)
        while not select.select([sys.stdin], [], [], SECONDS)[0]:
            timed("jobs", lambda: snapshots(database))
            if snapshots(database, limit=1):
                timed("status", lambda: waiting_for(database, snapshot(database, 1)))
    print(orjson.dumps(found).decode(), flush=True)


def _server(database: Database) -> int | None:
    """The process that serves this one's connection: a pool hands the same one out again."""
    if database.sqlite:
        return None
    with database.read() as connection:
        number: int = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    return number


def _queued_ms(server: int | None) -> float:
    """Milliseconds that this process and that one have waited for a core so far, as Linux counts them."""
    pids = [os.getpid(), *([] if server is None else [server])]
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) for pid in pids) / 1e6


if __name__ == "__main__":
    main()
