"""Row 21: a job paused and resumed at random while the workers that hold it are killed."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.chaos.faults.killed_workers import holds_work, kill
from bench.chaos.trial import Row, Trial
from bench.chaos.watch import Watch

WORKERS = 2
PAUSED_SECONDS = 2.0
DONE, REFUSED = 0, 2
"""What `pause` may end with: done, or refused since the job was over by then."""


class Pausing:
    """Pauses the newest job, kills whoever holds some of it, and looks whether anybody begins anything."""

    def __init__(self, trial: Trial, watch: Watch, submit: Callable[[], int]) -> None:
        self._trial, self._watch, self._submit = trial, watch, submit
        self.job = submit()
        self.pauses = 0
        self.begun = 0  # batches that were claimed of a paused job
        self.unexpected: list[str] = []

    def once(self) -> None:
        """One pause, and the end of it; another job follows one that is over."""
        if self._trial.job_status(self.job) == "completed":
            self.job = self._submit()
        time.sleep(self._trial.random.uniform(0, 1))
        if self._command("pause") != DONE:
            return
        held = self._claims()
        self._kill_holder()
        time.sleep(self._trial.random.uniform(0, PAUSED_SECONDS))
        self.begun += len(self._claims() - held)
        self._command("resume")
        self.pauses += 1

    def _command(self, word: str) -> int:
        ended = self._trial.stack.command(word, str(self.job))
        may = (DONE, REFUSED) if word == "pause" else (DONE,)
        if ended.returncode not in may or "Traceback" in ended.stderr:
            self.unexpected.append(f"{word} ended with {ended.returncode}: {ended.stderr[-200:]}")
        return ended.returncode

    def _claims(self) -> set[str]:
        """The claims on the job's batches that stand now."""
        query = "SELECT lease_token FROM batches WHERE job_id = ? AND lease_token IS NOT NULL"
        return {str(token) for (token,) in self._trial.stack.sql.query(query, [self.job])}

    def _kill_holder(self) -> None:
        holding = [worker for worker in self._trial.stack.workers if holds_work(worker, self._watch)]
        if holding and self._trial.random.random() < 0.7:
            kill(self._trial, self._trial.random.choice(holding), self._watch)


def attack(trial: Trial) -> None:
    stack, pauses = trial.stack, trial.size(20, 3)
    stack.ensure_workers(WORKERS)
    stack.wait_until_ready(WORKERS)
    file, seed = trial.prompts(trial.size(6200, 2000)), trial.job_seed()
    calm = trial.run_undisturbed(file, seed)
    with Watch(stack.sql) as watch:
        pausing = Pausing(trial, watch, lambda: trial.submit_beside(calm, file, seed))
        while pausing.pauses < pauses:
            stack.ensure_workers(WORKERS)
            pausing.once()
        trial.wait_until_over(pausing.job, workers=WORKERS)
    trial.figure("pauses", pausing.pauses)
    trial.check("nothing of a paused job was begun", not pausing.begun, f"{pausing.begun} batches")
    trial.check(
        "every pause was done or came too late, every resume was done",
        not pausing.unexpected,
        "; ".join(pausing.unexpected),
    )
    trial.measure(watch)
    trial.judge()


ROW = Row(
    number=21,
    fault="a job paused and resumed 20 times at random, on each database, while workers that hold it are killed",
    promise="nothing is begun while it is paused; 0 lost, 0 double",
    attack=attack,
)
