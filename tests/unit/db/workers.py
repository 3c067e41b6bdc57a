"""What workers do, to a database and to the model at once: claiming, saving, faults, scoring, ending.

A stale claim takes part in all of it, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from contract.blocklist import Blocklist
from contract.failures import FailureCode
from contract.spec import BatchStatus
from db.session.engine import Database
from db.work.claims import (
    Ability,
    Claim,
    claim_generation,
    claim_scoring,
    finish_generation,
    finish_scoring,
    leave_to_lease,
    release_claim,
    renew_claims,
    waiting_generation,
    waiting_scoring,
)
from db.work.lease import LeaseLost, PolicyChanged
from db.work.outputs import (
    GeneratedText,
    ScoredText,
    count_scoring_attempt,
    give_up_scoring,
    incomplete_prompts,
    record_fault,
    save_scores,
    save_texts,
    texts_to_score,
)
from tests.unit.db.lockstep import LEASE, Lockstep
from tests.unit.db.picture import PROMPT_TOKENS, BatchPicture, OutputPicture


@dataclass(eq=False, slots=True, kw_only=True)
class Task:
    """A claim, and what its worker knows of it: it may know it for longer than it is true."""

    claim: Claim
    scoring: bool
    samples: Sequence[tuple[int, int]]  # prompt and sample of what was missing
    outputs: Sequence[OutputPicture]  # what waited for scores
    words: tuple[str, ...]  # the blocklist, as the worker last read it


class Workers(Lockstep):
    """The workers of a database and of its model."""

    def __init__(self, database: Database, provenance: int) -> None:
        super().__init__(database)
        self.provenance = provenance
        self.tasks: list[Task] = []
        self._saves = 0

    def holding(self, task: Task) -> BatchPicture | None:
        """The batch that a task still holds; None where it is stale."""
        return self.model.holding(task.claim)

    def claim(self, by: Ability, *, scoring: bool, suspects: bool = False, hint: int | None = None) -> Task | None:
        """A claim, which the model foretells; None where there ought to be none."""
        waits = BatchStatus.GENERATED if scoring else BatchStatus.PENDING
        batch = self.model.choose(waits, by, suspects=suspects, hint=hint)
        serve = claim_scoring if scoring else claim_generation
        self._look_at_waiting(by, scoring)
        claim = serve(self.database, by, LEASE, suspects=suspects, hint=hint)
        assert (claim and claim.batch_id) == (batch and batch.id)
        if claim is None or batch is None:
            return None
        assert (claim.job_id, claim.alone) == (batch.job.id, suspects)
        self.model.take(batch, by, claim)
        task = Task(
            claim=claim,
            scoring=scoring,
            samples=[] if scoring else self.model.missing(batch),
            outputs=self.model.waiting(batch) if scoring else [],
            words=batch.job.words,
        )
        self._look_at_work(task)
        self.tasks.append(task)
        return task

    def _look_at_waiting(self, by: Ability, scoring: bool) -> None:
        waits = BatchStatus.GENERATED if scoring else BatchStatus.PENDING
        told = (waiting_scoring if scoring else waiting_generation)(self.database, by)
        claimable = self.model.claimable(waits, by)
        assert told == [batch.id for batch in claimable]
        told = (waiting_scoring if scoring else waiting_generation)(self.database, by, suspects=True)
        assert told == [batch.id for batch in claimable if batch.deaths]

    def _look_at_work(self, task: Task) -> None:
        if task.scoring:
            told = [(t.output_id, t.faults) for t in texts_to_score(self.database, task.claim)]
            assert told == sorted((output.id, output.score_faults) for output in task.outputs)
        else:
            work = incomplete_prompts(self.database, task.claim)
            assert [(w.prompt_id, index) for w in work for index in w.missing] == task.samples
            assert all(w.faults == self.model.prompts[w.prompt_id].faults for w in work)

    def renew(self, tasks: Iterable[Task]) -> None:
        claims = [task.claim for task in tasks]
        assert renew_claims(self.database, claims, LEASE) == self.model.renew(claims)

    def release(self, task: Task) -> None:
        release_claim(self.database, task.claim)
        batch = self.model.holding(task.claim)
        self.model.release([batch] if batch else [])

    def leave_to_lease(self, task: Task) -> None:
        leave_to_lease(self.database, task.claim)
        batch = self.model.holding(task.claim)
        if batch is not None:
            batch.worker, batch.alone = None, False

    # What workers store.

    def fenced(self, task: Task, act: Callable[[], Any]) -> BatchPicture | None:
        """The batch that `act` may change; None where the claim is stale, and `act` was refused."""
        batch = self.model.holding(task.claim)
        if batch is None:
            with pytest.raises(LeaseLost):
                act()
        return batch

    def save(self, task: Task, samples: Sequence[tuple[int, int]]) -> None:
        """Each save has words of its own, so that one that overwrote an earlier one would show."""
        texts = [self._text(prompt, index) for prompt, index in samples]
        later = self.model.jobs[task.claim.job_id].safety != "none"

        def act() -> None:
            save_texts(self.database, task.claim, texts, self.provenance, scored_later=later)

        batch = self.fenced(task, act)
        if batch is not None:
            act()
            self.model.save_texts(batch, texts, alone=task.claim.alone)
            stored = [(text.prompt_id, text.sample_index, text.text) for text in texts]
            self.ledger.save(batch.job.id, task.claim.token, stored)

    def _text(self, prompt: int, index: int) -> GeneratedText:
        self._saves += 1
        position = self.model.prompts[prompt].position
        return GeneratedText(
            prompt_id=prompt,
            sample_index=index,
            text=f"text {position} {index} save {self._saves} {('even', 'odd')[(position + index) % 2]}",
            finish_reason="length",
            tokens=1 + self._saves % 7,
            prompt_tokens=PROMPT_TOKENS,
            seed=index,
            mean_logprob=None,
        )

    def fault(self, task: Task, prompt: int, reason: str, *, certain: bool) -> None:
        number = self.model.prompts[prompt].faults + 1

        def act() -> bool:
            return record_fault(
                self.database, task.claim, prompt, reason, number=number, certain=certain, code=FailureCode(reason)
            )

        batch = self.fenced(task, act)
        if batch is not None:
            act()  # as where a commit's answer was lost
            assert act() == self.model.fault(batch, self.model.prompts[prompt], reason, certain=certain)
            self.ledger.fault(prompt, certain=certain)

    def finish_generation(self, task: Task) -> None:
        """Ends a generation; where the claim holds, nothing may be missing."""

        def act() -> bool:
            return finish_generation(self.database, task.claim)

        batch = self.fenced(task, act)
        if batch is not None:
            assert act() == self.model.finish_generation(batch)

    def save_scores(self, task: Task, scores: Sequence[tuple[OutputPicture, float]]) -> None:
        blocked = Blocklist(task.words)
        verdicts = [
            ScoredText(output_id=text.id, scores={"toxicity": toxicity}, blocked=tuple(blocked.find(text.text)))
            for text, toxicity in scores
        ]

        def act() -> None:
            made_by = {"classifier": "demo", "classifier_revision": "rev-c"}
            save_scores(self.database, task.claim, verdicts, task.words, **made_by)

        batch = self.fenced(task, act)
        if batch is None:
            return
        try:
            self.model.save_scores(batch, scores, task.words)
        except PolicyChanged:
            with pytest.raises(PolicyChanged):
                act()
            task.words = batch.job.words
        else:
            act()

    def charge(self, task: Task, output: OutputPicture) -> None:
        number = output.score_faults + 1

        def act() -> None:
            count_scoring_attempt(self.database, task.claim, output.id, number)

        if self.fenced(task, act) is not None:
            act()
            act()  # as where a commit's answer was lost
            output.score_faults += 1

    def give_up(self, task: Task, output: OutputPicture) -> None:
        def act() -> None:
            give_up_scoring(self.database, task.claim, output.id)

        batch = self.fenced(task, act)
        if batch is not None:
            act()
            self.model.give_up_scoring(batch, output)

    def finish_scoring(self, task: Task) -> None:
        """Ends a scoring; where the claim holds, nothing may be waiting."""

        def act() -> None:
            finish_scoring(self.database, task.claim)

        batch = self.fenced(task, act)
        if batch is not None:
            act()
            self.model.finish_scoring(batch)
