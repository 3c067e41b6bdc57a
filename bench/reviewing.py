"""How fast the review page answers over a million outputs, a tenth of them flagged: every page, decisions, charts.

`python -m bench.reviewing [--outputs 1000000] [--only sqlite|postgresql] [--rounds 30]`; bench/README.md says more.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil
from fastapi.testclient import TestClient

from bench.ingest import databases
from bench.processes import real_time_priority
from bench.reviewing_rows import WORDS, fill
from contract.review import Action, Filter
from db.review.claims import next_output
from db.review.decisions.acts import decide, undo
from db.review.decisions.bulk import decide_matching, undo_many
from db.review.queue import matching_versions
from db.session.engine import Database, open_database
from review.app import create_app
from review.security.access import OneTimeToken
from review.security.hosts import Hosts
from review.services import ServerConfig

REVIEWER = "bench"
PORT = 8765
AIM_MS = 100
BULK = 5000


@dataclass(slots=True)
class Timings:
    """Milliseconds of every look, by what was looked at."""

    samples: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, name: str, task: Callable[[], object]) -> None:
        start = time.perf_counter()
        task()
        self.samples.setdefault(name, []).append(1000 * (time.perf_counter() - start))


def main() -> None:
    options = _arguments()
    kinds = [options.only] if options.only else ["sqlite", "postgresql"]
    with tempfile.TemporaryDirectory(prefix="inkmill-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL's server runs as another user where this one is root
        with databases(folder, kinds) as addresses:
            for kind, (address, server) in addresses.items():
                _measure(kind, address(), server, options)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.reviewing", description=__doc__)
    parser.add_argument("--outputs", type=int, default=1_000_000)
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--real-time", action="store_true", help="other work waits while we look; needs root")
    return parser.parse_args()


def _measure(kind: str, url: str, server: int | None, options: argparse.Namespace) -> None:
    outputs, rounds = options.outputs, options.rounds
    database = open_database(url)
    start = time.perf_counter()
    jobs = fill(database, outputs)
    print(f"{kind}: {outputs:,} outputs filled in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    timings = Timings()
    began, other_seconds = time.perf_counter(), _other_processor_seconds(server)
    with client(database) as get, real_time_priority(server) if options.real_time else nullcontext():
        for _ in range(rounds):
            _look_at_pages(timings, get, jobs[0])
        _decide(timings, database, jobs[0], rounds)
        for _ in range(max(rounds // 10, 3)):
            _decide_many(timings, database, jobs[0])
        for _ in range(max(rounds // 3, 3)):
            _look_at_jobs(timings, database, jobs[0])
    busy = (_other_processor_seconds(server) - other_seconds) / (time.perf_counter() - began)
    database.close()
    print(f"\n{kind}, {outputs:,} outputs; other processes kept {max(busy, 0):.1f} cores busy")
    _print(timings)


def _other_processor_seconds(server: int | None) -> float:
    """Seconds of processor time that neither this process nor the database's server used."""
    times = psutil.cpu_times()
    own_processes = [psutil.Process()]
    if server is not None:
        own_processes += [psutil.Process(server), *psutil.Process(server).children(recursive=True)]
    used = [process.cpu_times() for process in own_processes]
    # A server's connections that ended count with it: it waited for them.
    ours_used = sum(each.user + each.system for each in used)
    ours_used += sum(used[1].children_user + used[1].children_system for _ in used[1:2])
    return float(times.user + times.system + times.nice - ours_used)


Get = Callable[[str], object]


@contextmanager
def client(database: Database) -> Iterator[Get]:
    """Whole answers of the page, as a browser would have them but for the socket."""
    config = ServerConfig(access=OneTimeToken(REVIEWER), hosts=Hosts("127.0.0.1"), key=b"k" * 32, port=PORT)
    app = create_app(database, config)
    signer = app.state.services.signer
    with TestClient(app, base_url=f"http://127.0.0.1:{PORT}") as client:
        client.cookies.set(signer.cookie_name, signer.cookie(REVIEWER))

        def get(path: str) -> object:
            answer = client.get(path)
            if answer.status_code != 200:
                raise RuntimeError(f"{path}: {answer.status_code}: {answer.text[:300]}")
            return answer

        yield get


_PAGES = {
    "queue, highest score first": "/queue",
    "queue, nearest a label's threshold": "/queue?label=toxicity&order=label",
    "queue, oldest": "/queue?order=oldest",
    "queue, random": "/queue?order=random",
    "queue of one job": "/queue?job={job}",
    "queue of one job, random": "/queue?job={job}&order=random",
    "queue, a label's range": "/queue?label=insult&low=0.70&high=0.75",
    "queue, a reason": "/queue?reason=threat",
    "queue, a model": "/queue?model=demo",
    "queue, decided ones": "/queue?state=decided",
    "queue, everything of a job in a range": "/queue?job={job}&state=all&label=toxicity&low=0.50&high=0.55",
    "queue, unflagged of a job in a range": "/queue?job={job}&state=unflagged&label=toxicity&low=0.60&high=0.70",
    "search, a frequent word": "/queue?q=" + WORDS[0],
    "search, a rare word": "/queue?q=" + WORDS[-1],
    "search, a phrase in a job": "/queue?job={job}&q=%22" + WORDS[0] + "+" + WORDS[1] + "%22",
    "bulk view": "/bulk",
    "bulk view of a filter": "/bulk?label=insult&low=0.70&high=0.90",
    "progress": "/progress",
}


def _look_at_pages(timings: Timings, get: Get, job: int) -> None:
    for name, path in _PAGES.items():
        timings.measure(name, lambda path=path: get(path.format(job=job)))  # type: ignore[misc]


def _decide(timings: Timings, database: Database, job: int, rounds: int) -> None:
    after: int | None = None
    with client(database) as get:
        for number in range(rounds):
            after = _sit(timings, database, get, Filter(job=job if number % 2 else None), after, undone=number % 3 == 0)


def _sit(
    timings: Timings, database: Database, get: Get, chosen: Filter, after: int | None, *, undone: bool
) -> int | None:
    """One output's way through a reviewer's hands."""
    claimed: list[int] = []

    def claim() -> None:
        samples = next_output(database, REVIEWER, chosen, after=after)
        assert samples is not None, "nothing is left to review"
        claimed.append(samples)

    timings.measure("next output, claimed", claim)
    output = claimed[0]
    timings.measure("one output", lambda: get(f"/outputs/{output}"))
    timings.measure("a decision", lambda: decide(database, output, REVIEWER, Action.REJECT))
    if undone:
        timings.measure("undo", lambda: undo(database, REVIEWER, output))
    timings.measure("next output, an audit in two", lambda: next_output(database, REVIEWER, chosen, audit_share=0.5))
    return output


def _decide_many(timings: Timings, database: Database, job: int) -> None:
    chosen = Filter(job=job, label="toxicity", low=0.7, high=_width(database, job))
    samples: dict[int, int] = {}
    key = secrets.token_hex(8)
    timings.measure(f"ids of {BULK:,} that match", lambda: samples.update(matching_versions(database, chosen)))
    timings.measure(
        f"bulk decision of {BULK:,}",
        lambda: decide_matching(database, chosen, REVIEWER, Action.APPROVE, seen=samples, key=key),
    )
    timings.measure(f"bulk undo of {BULK:,}", lambda: undo_many(database, key, REVIEWER))


def _width(database: Database, job: int) -> float:
    """The upper end of a score range that holds about as many as a bulk decision is to take."""
    for step in range(1, 31):
        high = 0.7 + step / 100
        if len(matching_versions(database, Filter(job=job, label="toxicity", low=0.7, high=high))) >= BULK:
            return high
    return 1.0


def _look_at_jobs(timings: Timings, database: Database, job: int) -> None:
    with client(database) as get:  # a new server: it has read nothing yet
        for name, path in (
            ("jobs page", "/jobs"),
            ("one job's page", f"/jobs/{job}"),
            ("charts, first look", f"/jobs/{job}/charts"),
            ("charts, again", f"/jobs/{job}/charts"),
            ("threshold advice", f"/jobs/{job}/advice?label=toxicity"),
            ("workers page", "/workers"),
        ):
            timings.measure(name, lambda path=path: get(path))  # type: ignore[misc]


def _print(timings: Timings) -> None:
    print("\n| | median ms | p95 ms | looks | |\n|---|---|---|---|---|")
    for name, milliseconds in timings.samples.items():
        middle, ordered = median(milliseconds), sorted(milliseconds)
        p95 = ordered[min(int(0.95 * len(ordered)), len(ordered) - 1)]
        over = f"over {AIM_MS}" if middle > AIM_MS else ""
        print(f"| {name} | {middle:.1f} | {p95:.1f} | {len(milliseconds)} | {over} |")


if __name__ == "__main__":
    main()
