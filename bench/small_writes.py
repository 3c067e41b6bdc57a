"""One small write every 50 ms, as a worker's sign of life is: how long does each wait while others write?

A process of its own: `python -m bench.small_writes URL`. Says "ready" once it writes, and reports when its standard
input ends.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from threading import Event, Thread

import orjson

from db.session.engine import Database, open_database
from db.work.workers import record_heartbeat, register_worker

PERIOD = 0.05  # seconds
NAME = "bench"


def main() -> None:
    database = open_database(sys.argv[1])
    register_worker(database, NAME, host=socket.gethostname(), pid=os.getpid(), state="ready", model="demo",
                    dtype="fp32", device="cpu", classifiers=[])  # fmt: skip
    print("ready", flush=True)
    ended = Event()
    Thread(target=_await_end, args=(ended,), daemon=True).start()
    print(orjson.dumps(_report(_waits(database, ended))).decode(), flush=True)
    database.close()


def _await_end(ended: Event) -> None:
    sys.stdin.read()
    ended.set()


def _waits(database: Database, ended: Event) -> list[float]:
    waits = []
    while not ended.is_set():
        start = time.perf_counter()
        record_heartbeat(database, NAME)
        waits.append(time.perf_counter() - start)
        ended.wait(max(0.0, PERIOD - waits[-1]))
    return waits


def _report(waits: list[float]) -> dict[str, float]:
    ordered = sorted(waits)
    return {"writes": len(ordered), "longest": ordered[-1], "p99": ordered[int(len(ordered) * 0.99)]}


if __name__ == "__main__":
    main()
