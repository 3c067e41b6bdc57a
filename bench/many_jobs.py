"""What following jobs costs where there are many, and one of a million outputs: lists, `status`, a tick of `watch`.

`python -m bench.many_jobs [--jobs 500] [--live 50] [--outputs 1000000] [--only sqlite|postgresql] [--rounds 15]
[--real-time]`;
bench/README.md says more.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import event, insert, text

from bench.ingest import databases
from bench.processes import real_time_priority
from bench.reviewing import Timings, client
from contract.spec import SamplingSettings
from db.insights.pace import FollowedPace, read_pace
from db.jobs.status import snapshot, snapshots
from db.jobs.waiting import waiting_for
from db.models import Job, Provenance
from db.session.engine import Database, open_database

BATCH = 256
SMALL = 5_000
"""Outputs of a job that is live; one that is over has a fifth of them."""
LISTED, SHOWN = 100, 51
"""Jobs that `inkmill jobs` lists, and those that the page reads for one of its lists."""


def main() -> None:
    asked = _arguments()
    kinds = [asked.only] if asked.only else ["sqlite", "postgresql"]
    with tempfile.TemporaryDirectory(prefix="inkmill-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL's server runs as another user where this one is root
        with databases(folder, kinds) as addresses:
            for kind, (address, server) in addresses.items():
                database = open_database(address())
                _measure(kind, database, server, asked)
                database.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.many_jobs", description=__doc__)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--live", type=int, default=50)
    parser.add_argument("--outputs", type=int, default=1_000_000)
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--real-time", action="store_true", help="other work waits while we look; needs root")
    return parser.parse_args()


def _measure(kind: str, database: Database, server: int | None, asked: argparse.Namespace) -> None:
    start = time.perf_counter()
    fill(database, asked.jobs, asked.live, asked.outputs)
    print(f"{kind}: filled in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    timings = Timings()
    with client(database) as get, real_time_priority(server) if asked.real_time else nullcontext():
        for _ in range(asked.rounds):
            _look(timings, database, asked.jobs)
            timings.measure("the page's list, a whole answer", lambda: get("/jobs"))
    print(f"\n{kind}: {asked.jobs} jobs, {asked.live} of them live, the largest with {asked.outputs:,} outputs; ms")
    print("| | median | longest |\n|---|---|---|")
    for name, samples in timings.samples.items():
        print(f"| {name} | {median(samples):.1f} | {max(samples):.1f} |")


def _look(timings: Timings, database: Database, newest: int) -> None:
    for limit in (LISTED, SHOWN):
        jobs = snapshots(database, limit=limit)
        timings.measure(f"counters of {limit} jobs", lambda limit=limit: snapshots(database, limit=limit))  # type: ignore[misc]
        timings.measure(f"what {limit} jobs wait for", lambda jobs=jobs: [waiting_for(database, job) for job in jobs])  # type: ignore[misc]
        timings.measure(f"pace of {limit} jobs", lambda jobs=jobs: [read_pace(database, job) for job in jobs])  # type: ignore[misc]
    for name, number in (("the large job", newest), ("a small live job", newest - 1), ("a job that is over", 1)):
        job = snapshot(database, number)
        timings.measure(f"counters of {name}", lambda number=number: snapshot(database, number))  # type: ignore[misc]
        timings.measure(f"pace of {name}", lambda job=job: read_pace(database, job))  # type: ignore[misc]
    followed = FollowedPace(database)
    timings.measure("a tick of `watch` that reads the pace", lambda: _tick(database, followed, newest))
    timings.measure("a tick of `watch` that does not", lambda: _tick(database, followed, newest))


def _tick(database: Database, followed: FollowedPace, number: int) -> None:
    job = snapshot(database, number)
    followed.look(job, waiting=bool(waiting_for(database, job)))


def fill(database: Database, jobs: int, live: int, outputs: int) -> None:
    """Writes the jobs: first those that are over, then the live ones, last the large one, all live ones at work."""
    if database.sqlite:  # nobody minds if the bench's own rows are lost in a power cut
        event.listen(database.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
        database.engine.dispose()
    with database.write() as connection:
        made_by = dict.fromkeys(("model", "revision", "engine", "torch", "device", "isa", "dtype"), "bench")
        connection.execute(insert(Provenance).values(made_by))
        rows = [_job(number, jobs, live, outputs) for number in range(1, jobs + 1)]
        connection.execute(insert(Job), rows)
        for statement in _NUMBERS:
            connection.execute(text(statement))
        first = 0
        for number, row in enumerate(rows, 1):
            connection.execute(text(_PROMPTS), {"first": first, "job": number, "size": row["seed"]})
            first += row["seed"]
        for statement in _ROWS:
            connection.execute(text(statement))
        if not database.sqlite:
            for table in ("batches", "prompts"):
                connection.execute(
                    text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))")
                )
    with database.engine.connect() as connection:  # as the databases do by themselves after a while
        connection.exec_driver_sql("ANALYZE")
        connection.commit()


def _job(number: int, jobs: int, live: int, outputs: int) -> dict[str, Any]:
    """Its row; `seed` says of how many outputs it is, and `owner` how many of them are written."""
    size = outputs if number == jobs else SMALL if number >= jobs - live else SMALL // 5
    over = number < jobs - live
    started = time.time() - (number * 3600 if over else _SECONDS)
    return {
        "name": f"{number}.jsonl", "status": "completed" if over else "running", "fingerprint": f"{number:064}",
        "model": "demo", "safety": "demo", "seed": size, "owner": str(size if over else size * 9 // 10),
        "settings": SamplingSettings().to_dict(), "thresholds": {}, "blocklist": [], "on_flag": "keep",
        "batch_size": BATCH, "device": "cpu", "dtype": "fp32", "created_at": started, "started_at": started,
        "finished_at": started + _SECONDS if over else None,
    }  # fmt: skip


_SECONDS = 3000.0
"""How long each job has been worked on."""
_WRITTEN = "CAST(j.owner AS INTEGER)"
_NUMBERS = (
    "CREATE TEMPORARY TABLE numbers (i INTEGER PRIMARY KEY)",
    """INSERT INTO numbers WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n
      WHERE i + 1 < (SELECT max(seed) FROM jobs)) SELECT i FROM n""",
)
_PROMPTS = f"""INSERT INTO prompts (id, job_id, batch_id, position, n, status, prompt)
SELECT :first + i + 1, :job, :first / {BATCH} + :job + i / {BATCH}, i, 1, 'done', 'Tell of ' || i
FROM numbers WHERE i < :size"""
_ROWS = (
    """INSERT INTO batches (id, job_id, status, prompts, outputs)
    SELECT batch_id, job_id, 'pending', count(*), count(*) FROM prompts GROUP BY batch_id, job_id""",
    # Texts in the order in which they were written, 32 to a save; they differ in nothing but a number.
    f"""INSERT INTO outputs (prompt_id, job_id, provenance_id, sample_index, text, finish_reason, tokens, prompt_tokens,
      seed, created_at, safety)
    SELECT p.id, j.id, 1, 0, p.prompt || '{" of the harbour and the sea" * 10}', 'stop', 40 + p.position % 40, 4, p.id,
      j.started_at + {_SECONDS} * (p.position / 32 + 1) / ({_WRITTEN} / 32 + 1) AS at, 'waiting'
    FROM prompts p JOIN jobs j ON j.id = p.job_id WHERE p.position < {_WRITTEN} ORDER BY at, p.id""",
    """INSERT INTO scores (output_id, revision, classifier, classifier_revision, toxicity, created_at)
    SELECT o.id, 0, 'demo', 'r1', 0.1, b.at + (p.position % 256 / 32 + 1) * 0.05 AS scored
    FROM outputs o JOIN prompts p ON p.id = o.prompt_id
    JOIN (SELECT p.batch_id, max(o.created_at) AS at, count(*) AS texts
          FROM outputs o JOIN prompts p ON p.id = o.prompt_id GROUP BY p.batch_id) b ON b.batch_id = p.batch_id
    JOIN batches c ON c.id = p.batch_id WHERE c.prompts = b.texts ORDER BY scored, o.id""",
    """UPDATE batches SET generated = c.texts, scored = c.scores, generated_tokens = c.tokens,
      status = CASE WHEN c.texts < prompts THEN 'generating' WHEN c.scores < prompts THEN 'generated' ELSE 'done' END
    FROM (SELECT p.batch_id, count(*) AS texts, sum(o.tokens) AS tokens, count(s.id) AS scores FROM prompts p
          JOIN outputs o ON o.prompt_id = p.id LEFT JOIN scores s ON s.output_id = o.id GROUP BY p.batch_id) AS c
    WHERE c.batch_id = batches.id""",
)


if __name__ == "__main__":
    main()
