"""How each operation of `db` ought to change what is stored, and what it ought to answer.

Plain Python, a few lines an operation, after the plan and not after the SQL. Nothing here knows a database.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from contract.errors import UsageError
from contract.policy import UNSCORED
from contract.spec import FINISHED_JOBS, BatchStatus, JobStatus, PromptStatus, Safety
from db.jobs.reflag import Reflagged
from db.jobs.retry import Retried
from db.work.claims import Ability, Claim
from db.work.lease import PolicyChanged
from db.work.outputs import GeneratedText
from tests.unit.db.picture import (
    CLAIMABLE,
    HELD,
    OPEN,
    UNDER_WAY,
    BatchPicture,
    JobPicture,
    OutputPicture,
    Picture,
    PromptPicture,
)

CHANCES = 3
"""Faults of its own, or deaths while it ran alone, that a prompt gets."""
LEASES = 5
"""That may run out in a row without a save."""
SILENT = "gave no sign of life"


class Model(Picture):
    """The picture, and how operations change it."""

    def add(self, job: JobPicture, prompts: Sequence[tuple[int, int]]) -> None:
        """A submitted job: id and n of each prompt, in the file's order."""
        self.jobs[job.id] = job
        for first in range(0, len(prompts), job.batch_size):
            batch = self._new_batch(job, ())
            for position, (number, n) in enumerate(prompts[first : first + job.batch_size], start=first):
                self.prompts[number] = PromptPicture(number, batch, position, n)

    # Claims and leases.

    def choose(self, waits: BatchStatus, by: Ability, *, suspects: bool, hint: int | None) -> BatchPicture | None:
        """The batch that a claim ought to get: the hinted one, else the one with the fewest deaths, else the oldest."""
        wanted = [batch for batch in self.claimable(waits, by) if suspects == (batch.deaths > 0)]
        return next((batch for batch in wanted if batch.id == hint), wanted[0] if wanted else None)

    def claimable(self, waits: BatchStatus, by: Ability) -> list[BatchPicture]:
        """What a worker could claim, in the order in which it would."""
        found = [batch for batch in self.batches if batch.status == waits and self._serves(by, batch)]
        return sorted(found, key=lambda batch: (batch.deaths, batch.id))

    @staticmethod
    def _serves(by: Ability, batch: BatchPicture) -> bool:
        job = batch.job
        if batch.status == BatchStatus.GENERATED:
            return job.safety in by.classifiers and job.status in (*CLAIMABLE, JobStatus.CANCELLING)
        return job.revision in (None, by.revision) and job.status in CLAIMABLE

    @staticmethod
    def take(batch: BatchPicture, by: Ability, claim: Claim) -> None:
        if batch.status == BatchStatus.PENDING:
            batch.job.status, batch.job.revision = JobStatus.RUNNING, by.revision
            batch.status = BatchStatus.GENERATING
        else:
            batch.status = BatchStatus.SCORING
        batch.worker, batch.token, batch.alone = by.worker, claim.token, claim.alone

    def holding(self, claim: Claim) -> BatchPicture | None:
        """The batch that a claim still holds."""
        return next((batch for batch in self.batches if batch.token == claim.token), None)

    def renew(self, claims: Iterable[Claim]) -> set[str]:
        """The tokens that are lost, or whose work nobody wants."""
        lost = set()
        for claim in claims:
            batch = self.holding(claim)
            if batch is not None:
                batch.expired = False
            unwanted = (JobStatus.CANCELLING, JobStatus.PAUSED)
            if batch is None or (batch.status == BatchStatus.GENERATING and batch.job.status in unwanted):
                lost.add(claim.token)
        return lost

    def release(self, batches: Iterable[BatchPicture], *, deaths: int = 0) -> None:
        """Back to where the next claim finds them; those of a cancelled job are not generated any more."""
        batches = list(batches)
        for batch in batches:
            generating = batch.status == BatchStatus.GENERATING
            batch.status = BatchStatus.PENDING if generating else BatchStatus.GENERATED
            batch.deaths += deaths
            batch.free()
        for batch in batches:
            if batch.status == BatchStatus.PENDING and batch.job.status == JobStatus.CANCELLING:
                self._cancel_batch(batch)
                self._end_if_over(batch.job)

    def give_back(self, batches: Iterable[BatchPicture]) -> None:
        """By a process that left in order: an attempt to score that it cut off is not charged."""
        batches = list(batches)
        for output in (output for batch in batches for output in self.waiting(batch)):
            output.score_faults = max(0, output.score_faults - 1)
        self.release(batches)

    def held_by(self, worker: str) -> list[BatchPicture]:
        return [batch for batch in self.batches if batch.status in HELD and batch.worker == worker]

    def die(self, worker: str, how: str) -> int:
        held = self.held_by(worker)
        lone = [batch for batch in held if batch.alone and batch.status == BatchStatus.GENERATING]
        self.release(held, deaths=1)
        for batch in lone:
            self._halve_or_charge(batch, how)
        return len(held)

    def sweep(self) -> int:
        ran_out = [batch for batch in self.batches if batch.status in HELD and batch.expired]
        hopeless = [batch for batch in ran_out if batch.expiries + 1 >= LEASES]
        lone = [batch for batch in hopeless if batch.deaths and batch.status == BatchStatus.GENERATING]
        for batch in ran_out:
            batch.expiries = 0 if batch in hopeless else batch.expiries + 1
            batch.deaths += batch in hopeless
        self.release(ran_out)
        for batch in lone:
            self._halve_or_charge(batch, SILENT)
        return len(ran_out)

    def _halve_or_charge(self, batch: BatchPicture, how: str) -> None:
        lacking = [prompt for prompt in self.prompts_of(batch) if prompt.lacks]
        if len(lacking) > 1:
            half = self._new_batch(batch.job, lacking[len(lacking) // 2 :])
            half.deaths = batch.deaths
        elif lacking:
            prompt = lacking[0]
            prompt.deaths += 1
            if prompt.deaths >= CHANCES:
                prompt.status = PromptStatus.DEAD
                prompt.reason = f"the worker process {how} {prompt.deaths} times while it generated this prompt alone"

    def _new_batch(self, job: JobPicture, prompts: Iterable[PromptPicture]) -> BatchPicture:
        batch = BatchPicture(job)
        self.batches.append(batch)
        for prompt in prompts:
            prompt.batch = batch
        return batch

    # Texts and scores: all of these under a claim that holds.

    def save_texts(self, batch: BatchPicture, texts: Iterable[GeneratedText], *, alone: bool) -> None:
        batch.expiries = 0
        safety = Safety.NONE if batch.job.safety == "none" else Safety.WAITING
        for text in texts:
            prompt = self.prompts[text.prompt_id]
            prompt.outputs.setdefault(text.sample_index, OutputPicture(text.text, text.tokens, safety))
            if alone:
                prompt.deaths = 0

    def fault(self, batch: BatchPicture, prompt: PromptPicture, reason: str, *, certain: bool) -> bool:
        """Whether the prompt is dead now."""
        batch.expiries = 0
        prompt.faults += 1
        if prompt.status == PromptStatus.PENDING and (certain or prompt.faults >= CHANCES):
            prompt.status, prompt.reason = PromptStatus.DEAD, reason
        return prompt.status == PromptStatus.DEAD

    def finish_generation(self, batch: BatchPicture) -> bool:
        """Whether it goes on to scoring."""
        batch.expiries = 0
        batch.free()
        scoring = bool(self.waiting(batch))
        if scoring:
            batch.status, batch.deaths = BatchStatus.GENERATED, 0
        else:
            self._settle(batch)
        return scoring

    def finish_scoring(self, batch: BatchPicture) -> None:
        batch.expiries = 0
        self._settle(batch)

    def save_scores(
        self, batch: BatchPicture, scores: Sequence[tuple[OutputPicture, float]], blocklist: Sequence[str]
    ) -> None:
        if list(batch.job.words) != list(blocklist):
            raise PolicyChanged
        batch.expiries = 0
        for output, toxicity in scores:
            if output.safety == Safety.WAITING:
                output.safety, output.toxicity = Safety.SCORED, toxicity
                output.reasons = self._reasons(batch.job, output)

    @staticmethod
    def _reasons(job: JobPicture, output: OutputPicture) -> tuple[str, ...]:
        over = ["toxicity"] if (output.toxicity or 0) >= job.threshold else []
        return (*over, *(f"blocklist:{word}" for word in job.words if word in output.text.split()))

    @staticmethod
    def give_up_scoring(batch: BatchPicture, output: OutputPicture) -> None:
        batch.expiries = 0
        if output.safety == Safety.WAITING:
            output.safety, output.reasons = Safety.UNSCORED, (UNSCORED,)

    # Jobs.

    def _settle(self, batch: BatchPicture) -> None:
        for prompt in self.prompts_of(batch):
            if prompt.status == PromptStatus.PENDING:
                prompt.status = PromptStatus.DONE
        batch.status, batch.deaths = BatchStatus.DONE, 0
        batch.free()
        self._end_if_over(batch.job)

    def _end_if_over(self, job: JobPicture) -> None:
        if job.status in UNDER_WAY and not any(batch.status in OPEN for batch in self.batches_of(job)):
            lost = any(prompt.status == PromptStatus.CANCELLED for prompt in self.prompts_of(job))
            cancelled = lost or job.status == JobStatus.CANCELLING
            job.status = JobStatus.CANCELLED if cancelled else JobStatus.COMPLETED

    def _cancel_batch(self, batch: BatchPicture) -> None:
        for prompt in self.prompts_of(batch):
            if prompt.lacks:
                prompt.status = PromptStatus.CANCELLED
        batch.deaths = 0
        batch.free()
        if not self.outputs_of(batch):
            batch.status = BatchStatus.CANCELLED
        elif self.waiting(batch):
            batch.status = BatchStatus.GENERATED
        else:
            self._settle(batch)

    def cancel(self, job: JobPicture) -> None:
        if job.status not in UNDER_WAY:
            raise UsageError
        job.status = JobStatus.CANCELLING
        self.wind_up(job)

    @staticmethod
    def pause(job: JobPicture) -> None:
        if job.status not in CLAIMABLE:
            raise UsageError
        job.status = JobStatus.PAUSED

    @staticmethod
    def resume(job: JobPicture) -> None:
        if job.status != JobStatus.PAUSED:
            raise UsageError
        job.status = JobStatus.QUEUED

    def wind_up(self, job: JobPicture) -> None:
        """Ends what nobody holds of a cancelling job, and a job without open batches."""
        if job.status == JobStatus.CANCELLING:
            for batch in self.batches_of(job):
                lapsed = batch.status == BatchStatus.GENERATING and batch.expired
                if lapsed or batch.status == BatchStatus.PENDING:
                    self._cancel_batch(batch)
        self._end_if_over(job)

    def leave_unscored(self, job: JobPicture) -> None:
        """Nobody scores the texts of a cancelling job."""
        for batch in self.batches_of(job):
            if (batch.status, job.status) == (BatchStatus.GENERATED, JobStatus.CANCELLING):
                for output in self.waiting(batch):
                    output.safety, output.reasons = Safety.UNSCORED, (UNSCORED,)
                self._settle(batch)

    @staticmethod
    def fail(job: JobPicture) -> None:
        if job.status in (*CLAIMABLE, JobStatus.CANCELLING):
            job.status = JobStatus.FAILED

    def retry(self, job: JobPicture, *, any_worker: bool, reason: str | None) -> Retried:
        if reason and job.status not in FINISHED_JOBS:
            raise UsageError
        if any_worker and job.status != JobStatus.CANCELLING:
            job.revision = None
            if job.status not in FINISHED_JOBS:
                return Retried(0, 0)
        if job.status not in FINISHED_JOBS:
            raise UsageError
        texts = 0 if reason else self._score_again(job)
        prompts = self._generate_again(job, reason)
        cancelled = any(prompt.status == PromptStatus.CANCELLED for prompt in self.prompts_of(job))
        ended_early = job.status == JobStatus.FAILED or (job.status == JobStatus.CANCELLED and not cancelled)
        if ended_early or any(batch.status in OPEN for batch in self.batches_of(job)):
            job.status = JobStatus.QUEUED
            self._end_if_over(job)
        return Retried(prompts, texts)

    def _score_again(self, job: JobPicture) -> int:
        texts = 0
        for prompt in self.prompts_of(job):
            unscored = [output for output in prompt.outputs.values() if output.safety == Safety.UNSCORED]
            if not unscored or prompt.batch.status in HELD:
                continue
            for output in unscored:
                output.safety, output.score_faults, output.reasons = Safety.WAITING, 0, ()
            if prompt.status == PromptStatus.DONE:
                prompt.status = PromptStatus.PENDING
            if prompt.batch.status == BatchStatus.DONE:
                prompt.batch.status = BatchStatus.GENERATED
            texts += len(unscored)
        return texts

    def _generate_again(self, job: JobPicture, reason: str | None) -> int:
        given_up = (PromptStatus.DEAD, PromptStatus.CANCELLED)
        mine = [p for p in self.prompts_of(job) if p.status in given_up and p.batch.status not in HELD]
        mine = [p for p in mine if reason is None or (p.status, p.reason) == (PromptStatus.DEAD, reason)]
        for first in range(0, len(mine), job.batch_size):
            some = mine[first : first + job.batch_size]
            self._new_batch(job, some)
            for prompt in some:
                prompt.status, prompt.faults, prompt.deaths, prompt.reason = PromptStatus.PENDING, 0, 0, None
        return len(mine)

    def reflag(self, job: JobPicture, threshold: float, words: tuple[str, ...]) -> Reflagged:
        job.threshold, job.words = threshold, words
        changed = 0
        for output in self.outputs_of(job):
            reasons = self._reasons(job, output) if output.safety == Safety.SCORED else output.reasons
            changed += reasons != output.reasons
            output.reasons = reasons
        return Reflagged(sum(bool(output.reasons) for output in self.outputs_of(job)), changed)
