"""One submission, as `inkmill submit` makes it: a process of its own, `python -m bench.submission URL FILE`.

Reports what only it can see, as one JSON line; its time and its memory are its starter's to measure.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import orjson

from db.session.engine import Database, open_database
from producer import submit as submitting
from producer.read.prompt_file import open_prompt_file

PRAGMAS = ("journal_mode", "synchronous", "wal_autocheckpoint", "cache_size", "page_size", "temp_store")
SETTINGS = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_level", "shared_buffers",
            "max_wal_size")  # fmt: skip


def main() -> None:
    url, path = sys.argv[1:]
    database = open_database(url)
    spent = _timed_announcing()
    start = time.perf_counter()
    with open_prompt_file(path) as file:
        order = submitting.SubmitOptions(model="demo", default_model="demo", safety="demo", seed=1)
        done = submitting.submit(database, file, order)
    report = {
        "submit": time.perf_counter() - start,
        "announce": spent[0],
        "queue_error": done.queue_error,
        "stored": _stored(database),
        "in_force": _in_force(database),
    }
    print(orjson.dumps(report).decode())
    database.close()


def _timed_announcing() -> list[float]:
    """Makes submit's telling of the queue note its seconds in the list returned."""
    queue_hints, spent = submitting.queue_hints, list[float]()

    def timed(database: Database, job_id: int, model: str) -> str | None:
        start = time.perf_counter()
        try:
            return queue_hints(database, job_id, model)
        finally:
            spent.append(time.perf_counter() - start)

    submitting.queue_hints = timed
    return spent


def _stored(database: Database) -> int:
    with database.read() as connection:
        count: int = connection.exec_driver_sql("SELECT count(*) FROM prompts").scalar_one()
    return count


def _in_force(database: Database) -> dict[str, Any]:
    asking = {name: f"PRAGMA {name}" for name in PRAGMAS} if database.sqlite else {n: f"SHOW {n}" for n in SETTINGS}
    with database.read() as connection:
        found = {name: connection.exec_driver_sql(question).scalar() for name, question in asking.items()}
        if database.sqlite:
            found["library"] = connection.exec_driver_sql("SELECT sqlite_version()").scalar()
    return found


if __name__ == "__main__":
    main()
