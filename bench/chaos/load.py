"""Work that does not end while faults happen: the same file as one job after another, each judged like the first."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.chaos.trial import Trial


class Load:
    """Jobs beside each other or in a row, on workers that are started again where their parents died."""

    def __init__(self, trial: Trial, prompts: int, *words: str, workers: int = 2) -> None:
        """Starts the workers, runs the file undisturbed, and submits it to be disturbed.

        Args:
            words: what the command `submit` is told beside the file.
        """
        self._trial, self._workers, self._words = trial, workers, words
        trial.stack.ensure_workers(workers)
        trial.stack.wait_until_ready(workers)
        self.file, self._seed = trial.prompts(prompts), trial.job_seed()
        self._calm = trial.run_undisturbed(self.file, self._seed, *words)
        self.jobs: list[int] = []
        self.submit_another()

    def submit_another(self) -> None:
        """One job more."""
        self.jobs.append(self._trial.submit_beside(self._calm, self.file, self._seed, *self._words))

    def sustain(self) -> None:
        """Sees to it that workers are there, and work for them. The database has to answer now."""
        self._trial.stack.ensure_workers(self._workers)
        if not self.busy:
            self.submit_another()

    @property
    def busy(self) -> bool:
        """Whether the newest job is not over yet."""
        return self._trial.job_status(self.jobs[-1]) != "completed"

    def run_for(self, seconds: float) -> None:
        """Lets so much time pass under load."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.sustain()
            time.sleep(min(0.2, max(0.0, end - time.monotonic())))

    def stored(self) -> int:
        """Texts of all of its jobs."""
        return sum(self._trial.stored(job) for job in self.jobs)

    def seconds_until_progress(
        self,
        patience: float,
        meanwhile: Callable[[], object] = lambda: None,
        seen: Callable[[], int] | None = None,
    ) -> float:
        """How long it takes until something more is there; infinite where nothing is within `patience` seconds.

        Args:
            seen: counts it, and says -1 where it cannot; another text stored where it is not said. After Redis was
                away `Trial.claimed` says more: what a worker holds it writes without.
        """
        seen = seen or self._trial.newest
        before, start = seen(), time.monotonic()
        while time.monotonic() - start < patience:
            meanwhile()
            newest = seen()
            if 0 <= before < newest:
                return time.monotonic() - start
            before = newest if before < 0 else before  # nobody answered until now
            time.sleep(0.1)
        return float("inf")

    def finish(self) -> None:
        """Waits until all of it is over."""
        for job in self.jobs:
            self._trial.wait_until_over(job, workers=self._workers)

    def judge(self, *, clock: bool = True) -> None:
        """The figures of the disturbed jobs, and the oracle.

        Args:
            clock: whether the database's clock is to be trusted.
        """
        if clock:
            self._trial.measure()
        self._trial.figure("texts stored under faults", self.stored())
        self._trial.judge(leases=clock)
