"""One row on one database: what an attack has to work with, and what it finds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from random import Random
from typing import Any

from bench.chaos import oracle
from bench.chaos.oracle import Check, Expected, Key
from bench.chaos.prompts import MARKER, SAMPLES, PromptFile, write_prompts
from bench.chaos.rawsql import run
from bench.chaos.stack import LEASE_SECONDS, Stack
from bench.chaos.watch import Watch, percentile

FINISH_SECONDS = 900.0
DATABASES = ("sqlite", "postgresql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the table."""

    number: int
    fault: str
    promise: str
    attack: Callable[[Trial], None]
    databases: tuple[str, ...] = DATABASES
    environment: Mapping[str, str] = field(default_factory=dict)  # settings of the program for this row
    note: str = ""  # what the reader of the table should know: a stub, a smaller figure


@dataclass
class Undisturbed:
    """A run of a file without any fault."""

    texts: dict[Key, str]
    seconds: float  # from its first claim to its last output settled


@dataclass
class Trial:
    """A row's run. An attack reads the first five, and calls `check`, `figure` and `judge`."""

    row: Row
    stack: Stack
    random: Random  # what the faults are drawn from
    seed: int  # of this row
    short: bool
    progress: Callable[[str], object] = print
    checks: list[Check] = field(default_factory=list)
    figures: dict[str, float | int | str] = field(default_factory=dict)
    seconds_taken: float = 0.0
    _files: Random = field(init=False)  # of its own: how often a fault is drawn is a matter of time
    _undisturbed: dict[int, Undisturbed] = field(default_factory=dict)  # by the disturbed job's id

    def __post_init__(self) -> None:
        self._files = Random(f"{self.seed}/{self.row.number} files")

    @property
    def passed(self) -> bool:
        """Whether everything held; a row that checks nothing does not."""
        return bool(self.checks) and all(check.holds for check in self.checks)

    def size(self, long: int, short: int) -> int:
        """A figure of the long form, and of the short one."""
        return short if self.short else long

    def check(self, what: str, holds: bool, found: str = "") -> None:
        """Notes something that must hold."""
        self.checks.append(Check(what, holds, found))
        self.progress(f"  {self.checks[-1]}")

    def figure(self, name: str, value: float | int | str) -> None:
        """Notes something measured."""
        self.figures[name] = round(value, 3) if isinstance(value, float) else value
        self.progress(f"  {name}: {self.figures[name]}")

    def prompts(
        self, count: int, special: Mapping[int, str] | None = None, samples: tuple[int, ...] = SAMPLES
    ) -> PromptFile:
        """Writes a prompt file for this run: the same ones in the same order for the same seed."""
        path = self.stack.folder / f"prompts-{self.row.number}-{self._files.getrandbits(32):08x}.jsonl"
        return write_prompts(path, count, self._files, special, samples)

    def job_seed(self) -> int:
        """A seed to submit a file with."""
        return self._files.getrandbits(40)

    def submit(self, file: PromptFile, *words: str, undisturbed: bool = True) -> int:
        """Submits a file to be disturbed, once it has run undisturbed on the same workers. Returns the job's id."""
        seed = self.job_seed()
        if undisturbed:
            return self.submit_beside(self.run_undisturbed(file, seed, *words), file, seed, *words)
        return self.stack.submit(file, seed, *words)

    def submit_beside(self, calm: Undisturbed, file: PromptFile, seed: int, *words: str) -> int:
        """Submits a file to be disturbed whose undisturbed run is known. Returns the job's id."""
        job = self.stack.submit(file, seed, *words)
        self._undisturbed[job] = calm
        return job

    def run_undisturbed(self, file: PromptFile, seed: int, *words: str) -> Undisturbed:
        """Runs a file to its end on the workers that are there, without a fault."""
        job = self.stack.submit(file, seed, *words)
        self.wait_until_over(job)
        with closing(self.stack.sql.connect()) as connection:
            texts = oracle.texts_of(lambda statement, *values: run(connection, statement, values), job)
        return Undisturbed(texts, self.seconds(job))

    def seconds(self, job: int) -> float:
        """How long a job took, from its first claim to its last output settled, by the database's clock."""
        start, end = self._times(job)
        return end - start

    def _times(self, job: int) -> tuple[float, float]:
        ((start, end),) = self.stack.sql.query("SELECT started_at, finished_at FROM jobs WHERE id = ?", [job])
        return float(start), float(end)

    def stored(self, job: int) -> int:
        """Outputs of a job that are stored now."""
        ((count,),) = self.stack.sql.query("SELECT count(*) FROM outputs WHERE job_id = ?", [job])
        return int(count)

    def newest(self) -> int:
        """The number of the output that was stored last, of any job; 0 where there is none, -1 where nobody answers.

        Unlike a count it costs the same however many there are, so it may be asked for all the time.
        """
        try:
            ((number,),) = self.stack.sql.query("SELECT max(id) FROM outputs")
        except Exception:
            return -1
        return int(number or 0)

    def claimed(self) -> int:
        """Batches that were claimed at some time, of all jobs; -1 where nobody answers.

        A worker claims when a message comes; what it has claimed it can write without one.
        """
        try:
            ((count,),) = self.stack.sql.query("SELECT count(*) FROM batches WHERE status <> 'pending'")
        except Exception:
            return -1
        return int(count)

    def waiting(self) -> int:
        """Batches that wait to be claimed, of all jobs."""
        ((count,),) = self.stack.sql.query("SELECT count(*) FROM batches WHERE status = 'pending'")
        return int(count)

    def progress_of(self, job: int) -> float:
        """How much of a job is generated and scored, 0 to 1, by its own counters; -1 where nobody answers."""
        query = "SELECT sum(generated + scored + unscored), sum(2 * outputs) FROM batches WHERE job_id = ?"
        try:
            ((done, wanted),) = self.stack.sql.query(query, [job])
        except Exception:
            return -1.0
        return float(done) / float(wanted)

    def job_status(self, job: int) -> str:
        """A job's status now; empty where the database does not answer."""
        try:
            ((status,),) = self.stack.sql.query("SELECT status FROM jobs WHERE id = ?", [job])
        except Exception:
            return ""
        return str(status)

    def cancelled(self, job: int) -> int:
        """Prompts of a job that are cancelled."""
        query = "SELECT count(*) FROM prompts WHERE job_id = ? AND status = ?"
        ((count,),) = self.stack.sql.query(query, [job, "cancelled"])
        return int(count)

    def wait_until_over(self, job: int, seconds: float = FINISH_SECONDS, workers: int = 0) -> None:
        """Waits until a job is over, and keeps so many workers alive meanwhile.

        Raises:
            RuntimeError: it does not end.
        """
        deadline = time.monotonic() + seconds
        while self.job_status(job) not in ("completed", "cancelled", "failed"):
            if time.monotonic() > deadline:
                raise RuntimeError(f"job {job} is not over after {seconds:.0f} s\n{self.stack.logs()}")
            if workers:
                self.stack.ensure_workers(workers)
            time.sleep(0.1)

    def judge(
        self,
        *,
        dead: Mapping[int, Mapping[str, str]] | None = None,
        cancelled: Collection[int] = (),
        statuses: Collection[str] = oracle.SETTLED_JOBS,
        leases: bool = True,
        ended: bool = True,
        scored: bool = True,
    ) -> None:
        """Has the oracle look at everything that the ledger says was acknowledged."""
        expected = Expected(
            texts={job: calm.texts for job, calm in self._undisturbed.items()},
            dead=dead or {},
            cancelled=cancelled,
            statuses=statuses,
            lease_seconds=float(self.row.environment.get("INKMILL_LEASE_SECONDS", LEASE_SECONDS)) if leases else None,
            ended=ended,
            scored=scored,
        )
        if not self.stack.sql.sqlite:
            # A server that was killed forgets how much changed, and goes on planning for tables of a few rows.
            self.stack.sql.execute("ANALYZE")
        for found in oracle.judge(self.stack.sql, self.stack.ledger.read(), expected):
            self.check(found.what, found.holds, found.found)
        if self._undisturbed:
            reported = self.stack.jobs()
            found_wrong = ((job, self._misstated(job, reported.get(job))) for job in self._undisturbed)
            mismatches = [f"job {job}: {found}" for job, found in found_wrong if found]
            self.check("inkmill jobs says what the rows say", not mismatches, "; ".join(mismatches))
        self._keeps_secrets()

    def _keeps_secrets(self) -> None:
        postgres = self.stack.postgres
        secrets = {"Redis' password": self.stack.redis.password, "a prompt": MARKER}
        leaked = self.stack.leaked(secrets | ({"PostgreSQL's password": postgres.password} if postgres else {}))
        self.check("no log tells a password or a prompt", not leaked, ", ".join(leaked))

    def _misstated(self, job: int, reported: Mapping[str, Any] | None) -> str:
        """What the program says of a job, where its rows say something else."""
        if reported is None:
            return "is not listed"
        query = "SELECT status, count(*), sum(n) FROM prompts WHERE job_id = ? GROUP BY status"
        prompts = {status: (int(count), int(n)) for status, count, n in self.stack.sql.query(query, [job])}
        query = ("SELECT count(*), count(*) FILTER (WHERE safety = 'scored'), "
                 "count(*) FILTER (WHERE safety = 'unscored'), count(*) FILTER (WHERE flagged), "
                 "coalesce(sum(tokens), 0) FROM outputs WHERE job_id = ?")  # fmt: skip
        ((generated, scored, unscored, flagged, tokens),) = self.stack.sql.query(query, [job])
        query = "SELECT count(*) FROM reviews WHERE job_id = ? AND state = 'pending'"
        ((pending,),) = self.stack.sql.query(query, [job])
        counted = {
            "total": sum(count for count, _ in prompts.values()),
            **{name: prompts.get(name, (0, 0))[0] for name in ("done", "dead", "cancelled")},
        }, {
            "total": sum(n for _, n in prompts.values()),
            "generated": generated, "scored": scored, "unscored": unscored, "flagged": flagged,
            "pending_review": pending,
        }, tokens  # fmt: skip
        outputs = {name: reported["outputs"].get(name) for name in counted[1]}
        found = reported["prompts"], outputs, reported["tokens"]["generated"]
        return "" if found == counted else json.dumps(found)

    def measure(self, watch: Watch | None = None) -> None:
        """The figures of the disturbed jobs: their pace beside an undisturbed one's, work done twice, work taken up."""
        jobs = list(self._undisturbed)
        if jobs:
            calm = self._undisturbed[jobs[0]]
            self.figure("texts/s undisturbed", len(calm.texts) / calm.seconds)
            times = [self._times(job) for job in jobs]
            seconds = max(end for _, end in times) - min(start for start, _ in times)
            self.figure("texts/s under faults", sum(map(self.stored, jobs)) / seconds)
        computed = sum(counted.tokens for counted in self.stack.faults.counts())
        stored = {job: self._tokens(job) for job in self.stack.ledger.read()}
        disturbed = sum(stored[job] for job in jobs)
        if computed and disturbed:
            # An undisturbed run computes nothing twice: whatever is too much was computed for the disturbed jobs.
            self.figure("computed twice, % of the tokens", 100 * (computed - sum(stored.values())) / disturbed)
        if watch is not None and watch.taken_up:
            self.figure("taken up after, s, p50", percentile(watch.taken_up, 50))
            self.figure("taken up after, s, p99", percentile(watch.taken_up, 99))
            self.figure("batches taken up", len(watch.taken_up))

    def _tokens(self, job: int) -> int:
        ((tokens,),) = self.stack.sql.query("SELECT coalesce(sum(tokens), 0) FROM outputs WHERE job_id = ?", [job])
        return int(tokens)
