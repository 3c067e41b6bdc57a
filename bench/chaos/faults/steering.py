"""Row 16: cancel, retry and reflag at random while workers and Redis are killed."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable

from bench.chaos import witness
from bench.chaos.faults.killed_workers import holds_work, kill
from bench.chaos.trial import Row, Trial
from bench.chaos.watch import Watch

WORKERS = 2
OVER = ("completed", "cancelled")
LABELS = ("toxicity", "severe_toxicity", "obscene", "threat", "insult", "identity_attack", "sexual_explicit")
USUAL_THRESHOLD = 0.7
DONE, REFUSED = 0, 2
"""What a command may end with here: done, or refused since the job is over already, or is not yet. Redis is back
before the next command, so none has the right to miss it."""
CANCELLED = ("prompts", "pending", "cancelled")


class Steering:
    """One step after another, drawn at random."""

    def __init__(self, trial: Trial, watch: Watch, submit: Callable[[], int]) -> None:
        self._trial, self._watch, self._submit = trial, watch, submit
        self.jobs = [submit()]
        self.done: Counter[str] = Counter()
        self.unexpected_exits: list[str] = []  # commands that ended otherwise than they may
        self._steps: dict[str, Callable[[], None]] = {
            "cancel": lambda: self._command("cancel"),
            "retry": lambda: self._command("retry"),
            "reflag": self._reflag,
            "kill a worker": self._kill_worker,
            "kill Redis": self._kill_redis,
            "flush Redis": self._flush_redis,
        }

    def step(self) -> None:
        """Something happens. A job that is over is retried first, or followed by another where all of it is done."""
        over = self._trial.job_status(self.jobs[-1]) in OVER
        if over and not self._trial.cancelled(self.jobs[-1]):
            self.jobs.append(self._submit())
            over = False
        name = "retry" if over else self._trial.random.choice(list(self._steps)) if self.done else "cancel"
        self._steps[name]()
        self.done[name] += 1

    def _command(self, word: str) -> None:
        ended = self._trial.stack.command(word, str(self.jobs[-1]))
        if ended.returncode not in (DONE, REFUSED) or "Traceback" in ended.stderr:
            self.unexpected_exits.append(f"{word} ended with {ended.returncode}: {ended.stderr[-200:]}")

    def _reflag(self) -> None:
        stored_thresholds = f"toxicity={self._trial.random.uniform(0.01, 0.99):.3f}"
        self._trial.stack.inkmill("reflag", str(self.jobs[-1]), "--threshold", stored_thresholds, "--yes")

    def _kill_worker(self) -> None:
        holding = [worker for worker in self._trial.stack.workers if holds_work(worker, self._watch)]
        if holding:
            kill(self._trial, self._trial.random.choice(holding), self._watch)

    def _flush_redis(self) -> None:
        self._trial.stack.redis.client().flushall()

    def _kill_redis(self) -> None:
        self._trial.stack.redis.kill()
        time.sleep(self._trial.random.uniform(0, 2))
        self._trial.stack.redis.start()


def attack(trial: Trial) -> None:
    stack, steps = trial.stack, trial.size(16, 6)
    stack.ensure_workers(WORKERS)
    stack.wait_until_ready(WORKERS)
    witness.install(stack.sql)
    file, seed = trial.prompts(trial.size(6200, 2000)), trial.job_seed()
    calm = trial.run_undisturbed(file, seed)
    with Watch(stack.sql) as watch:
        steering = Steering(trial, watch, lambda: trial.submit_beside(calm, file, seed))
        while _is_unfinished(trial, steering, steps):
            stack.ensure_workers(WORKERS)
            steering.step()
            time.sleep(trial.random.uniform(0, 1))
        for job in steering.jobs:
            _retry_until_done(trial, job)
    for name, count in sorted(steering.done.items()):
        trial.figure(name, count)
    trial.check(
        "every cancel and retry was done, or refused",
        not steering.unexpected_exits,
        "; ".join(steering.unexpected_exits),
    )
    seen = witness.changes(stack.sql)
    kinds = {kind for kind, _, _ in seen}
    trial.check("the witness saw jobs, batches and prompts change", kinds == set(witness.ALLOWED), f"{kinds}")
    trial.check("a cancel cancelled prompts", seen.get(CANCELLED, 0) > 0)
    forbidden = witness.forbidden(seen)
    trial.check("no change of a status but those of the plan", not forbidden, "; ".join(forbidden))
    for job in steering.jobs:
        _check_flags(trial, job)
    trial.measure(watch)
    trial.judge(statuses=OVER)  # a job that was cancelled over its last scores stays so, with nothing to retry


def _is_unfinished(trial: Trial, steering: Steering, steps: int) -> bool:
    """Until there were so many steps; a few more where each cancel came when its job was over."""
    made = sum(steering.done.values())
    return made < steps or (made < 2 * steps and CANCELLED not in witness.changes(trial.stack.sql))


def _retry_until_done(trial: Trial, job: int) -> None:
    """Whatever was cancelled is retried, until every prompt is done."""
    while True:
        trial.wait_until_over(job, workers=WORKERS)
        if not trial.cancelled(job):
            return
        trial.stack.inkmill("retry", str(job))


def _check_flags(trial: Trial, job: int) -> None:
    """After the last reflag every output is flagged by its scores and the job's thresholds, and by nothing else."""
    ((stored_thresholds,),) = trial.stack.sql.query("SELECT CAST(thresholds AS TEXT) FROM jobs WHERE id = ?", [job])
    thresholds = json.loads(stored_thresholds)
    rows = trial.stack.sql.query(
        f"SELECT o.id, o.flagged, {', '.join(LABELS)} FROM outputs o JOIN scores s ON s.output_id = o.id "
        "WHERE o.job_id = ? AND s.revision = 0", [job]
    )  # fmt: skip
    bad = []
    for number, flagged, *scores in rows:
        limits = [thresholds.get(label, USUAL_THRESHOLD) for label in LABELS]
        over = any(score is not None and score >= limit for score, limit in zip(scores, limits, strict=True))
        if bool(flagged) != over:
            bad.append(number)
    trial.check(
        "every output is flagged as the last reflag says",
        not bad,
        f"{len(bad)} wrong" if bad else "",
    )


ROW = Row(
    number=16,
    fault="16 times at random on each database, with jobs of 6,200 prompts: cancel, retry, reflag, a worker killed, "
    "Redis killed or flushed",
    promise="the states the plan allows, and no other; 0 lost, 0 double",
    attack=attack,
)
