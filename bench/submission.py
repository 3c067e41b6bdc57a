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
    seconds = _time_queue_hints()
    start = time.perf_counter()
    with open_prompt_file(path) as file:
        options = submitting.SubmitOptions(model="demo", default_model="demo", safety="demo", seed=1)
        submitted = submitting.submit(database, file, options)
    report = {
        "submit": time.perf_counter() - start,
        "announce": seconds[0],
        "queue_error": submitted.queue_error,
        "stored": _stored(database),
        "in_force": _database_settings(database),
    }
    print(orjson.dumps(report).decode())
    database.close()


def _time_queue_hints() -> list[float]:
    """Makes submit's telling of the queue note its seconds in the list returned."""
    queue_hints, seconds = submitting.queue_hints, list[float]()

    def timed(database: Database, job_id: int, model: str) -> str | None:
        start = time.perf_counter()
        try:
            return queue_hints(database, job_id, model)
        finally:
            seconds.append(time.perf_counter() - start)

    submitting.queue_hints = timed
    return seconds


def _stored(database: Database) -> int:
    with database.read() as connection:
        count: int = connection.exec_driver_sql("SELECT count(*) FROM prompts").scalar_one()
    return count


def _database_settings(database: Database) -> dict[str, Any]:
    queries = {name: f"PRAGMA {name}" for name in PRAGMAS} if database.sqlite else {n: f"SHOW {n}" for n in SETTINGS}
    with database.read() as connection:
        values = {name: connection.exec_driver_sql(question).scalar() for name, question in queries.items()}
        if database.sqlite:
            values["library"] = connection.exec_driver_sql("SELECT sqlite_version()").scalar()
    return values


if __name__ == "__main__":
    main()
