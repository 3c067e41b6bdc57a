"""Operations of `db` on jobs and leases, done to a database and to the model at once; the two are compared after each.

What workers do is the business of `workers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from sqlalchemy import update

from contract.errors import UsageError
from contract.failures import FailureCode
from contract.spec import FINISHED_JOBS, BatchStatus, JobStatus, PromptRow
from db.jobs.jobs import cancel_job, fail_job, pause_job, resume_job
from db.jobs.reflag import reflag_job
from db.jobs.retry import retry_job
from db.jobs.status import snapshot
from db.models import Job
from db.session.engine import Database
from db.work.claims import Claim
from db.work.recovery import finish_jobs, mark_death, release_worker_claims, sweep
from db.work.unscored import leave_unscored
from tests.unit.db.mill import Mill
from tests.unit.db.model import LEASES, Model
from tests.unit.db.picture import HELD, BatchPicture, JobPicture, Lines
from tests.unit.db.promises import Ledger
from tests.unit.db.stored import read_lines

LEASE = 3600.0
"""Seconds: no lease runs out by itself."""
KILLED = "was killed by signal 9"


class Lockstep:
    """A database and its model, side by side."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.mill, self.model, self.ledger = Mill(database), Model(), Ledger()
        self.stored = Lines([], [], [], [])

    def compare(self) -> None:
        """Asserts that every row says what the model says, and what is promised."""
        stored, ids = read_lines(self.database)
        self.model.name_new([batch.id for batch in stored.batches])
        for have, want in zip(stored.every(), self.model.lines().every(), strict=True):
            assert have == want, f"stored: {have}\nmodel:  {want}"
        for prompt in self.model.prompts.values():
            for index, output in prompt.outputs.items():
                output.id = ids[prompt.id, index]
        self.ledger.check(stored)
        self.stored = stored

    # Jobs.

    def submit(self, counts: Sequence[int], batch_size: int, safety: str) -> None:
        """A job whose prompts want so many texts each."""
        rows = [PromptRow(position=i, prompt=f"prompt {i}", n=n) for i, n in enumerate(counts)]
        number = self.mill.submit(rows, batch_size=batch_size, safety=safety)
        job = JobPicture(number, safety, batch_size)
        self.model.add(job, [(row.id, row.n) for row in self.mill.prompts(number)])
        self.ledger.submitted |= {prompt.id: (number, prompt.n) for prompt in self.model.prompts_of(job)}

    def cancel(self, job: JobPicture) -> None:
        if self._refused_alike(lambda: cancel_job(self.database, job.id), lambda: self.model.cancel(job)):
            return
        self.ledger.cancel(job.id, self.stored)

    def cancel_by_half(self, job: JobPicture) -> None:
        """The cancelling command dies after its first transaction."""
        with self.database.write() as connection:
            connection.execute(update(Job).where(Job.id == job.id).values(status=JobStatus.CANCELLING.value))
        job.status = JobStatus.CANCELLING
        self.ledger.cancel(job.id, self.stored)

    def pause(self, job: JobPicture) -> None:
        self._refused_alike(lambda: pause_job(self.database, job.id), lambda: self.model.pause(job))

    def resume(self, job: JobPicture) -> None:
        self._refused_alike(lambda: resume_job(self.database, job.id), lambda: self.model.resume(job))

    def leave_unscored(self, job: JobPicture) -> None:
        leave_unscored(self.database, job.id)
        self.model.leave_unscored(job)

    def fail(self, job: JobPicture) -> None:
        fail_job(self.database, job.id, "no model")
        self.model.fail(job)

    def retry(self, job: JobPicture, *, any_worker: bool = False, reason: FailureCode | None = None) -> None:
        over = job.status in FINISHED_JOBS
        refused = self._refused_alike(
            lambda: retry_job(self.database, job.id, any_worker=any_worker, code=reason),
            lambda: self.model.retry(job, any_worker=any_worker, reason=reason),
        )
        if over and not refused:
            self.ledger.retry(job.id)
            self.ledger.forgive(read_lines(self.database)[0])

    @staticmethod
    def _refused_alike(act: Callable[[], Any], model: Callable[[], Any]) -> bool:
        try:
            expected = model()
        except UsageError:
            with pytest.raises(UsageError):
                act()
            return True
        assert act() == expected
        return False

    def reflag(self, job: JobPicture, threshold: float, words: tuple[str, ...]) -> None:
        done = reflag_job(self.database, job.id, thresholds={"toxicity": threshold}, blocklist=words)
        assert done == self.model.reflag(job, threshold, words)

    def look(self, job: JobPicture) -> None:
        """Asserts that the job's figures are those of its rows."""
        seen = snapshot(self.database, job.id)
        counted = (seen.prompts, seen.outputs, seen.done, seen.dead, seen.cancelled, seen.generated, seen.scored,
                   seen.unscored, seen.flagged, seen.prompt_tokens, seen.generated_tokens)  # fmt: skip
        assert counted == self.model.counters(self.model.prompts_of(job))
        assert (seen.status, seen.pending_review) == (job.status, seen.flagged)
        states = [batch.status for batch in self.model.batches_of(job)]
        waiting = (states.count(BatchStatus.PENDING), states.count(BatchStatus.GENERATED))
        assert (seen.to_generate, seen.to_score, seen.in_hand) == (*waiting, sum(state in HELD for state in states))
        assert sum(seen.failures.values()) == seen.dead

    # Claims and leases.

    def expire(self, batches: Iterable[BatchPicture]) -> None:
        """Time passes, and these leases are not renewed."""
        for batch in batches:
            assert batch.token is not None
            batch.expired = True
            self.mill.expire(Claim(batch_id=batch.id, job_id=batch.job.id, token=batch.token, alone=batch.alone))

    def sweep(self) -> None:
        for batch in self.stored.batches:
            if batch.expired and batch.deaths and batch.expiries + 1 >= LEASES:
                self.ledger.death(batch, self.stored)
        assert sweep(self.database) == self.model.sweep()

    def finish_jobs(self) -> None:
        finish_jobs(self.database)
        for job in self.model.jobs.values():
            self.model.wind_up(job)

    def die(self, worker: str) -> None:
        for batch in self.stored.batches:
            if batch.worker == worker and batch.alone:
                self.ledger.death(batch, self.stored)
        assert mark_death(self.database, worker, KILLED) == self.model.die(worker, KILLED)

    def give_back(self, worker: str) -> None:
        held = self.model.held_by(worker)
        assert release_worker_claims(self.database, worker) == len(held)
        self.model.give_back(held)
