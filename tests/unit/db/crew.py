"""Who acts in the state machine, what they can choose from, and how honest workers bring everything to its end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import product
from typing import ClassVar, NamedTuple, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from contract.spec import FINISHED_JOBS, BatchStatus, JobStatus, PromptStatus
from db.session.engine import Database
from db.work.claims import Ability
from db.work.outputs import provenance_id
from tests.unit.db.mill import MADE_BY, worker
from tests.unit.db.picture import HELD, BatchPicture, JobPicture
from tests.unit.db.stored import empty
from tests.unit.db.workers import Task, Workers

T = TypeVar("T")
REVISIONS = ("rev-1", "rev-1", "rev-2")
"""Of the model, that each worker has; a job's first claim settles which one serves it."""
LATE = 2
"""Stale claims that take part, the newest."""


class Offer(NamedTuple):
    """A claim that somebody may make."""

    number: int  # of the worker
    scoring: bool
    suspects: bool


class Crew(RuleBasedStateMachine):
    """A database, its model, and some workers. A subclass says which database."""

    database: ClassVar[Database]

    def __init__(self) -> None:
        super().__init__()
        empty(self.database)
        self.desk = Workers(self.database, provenance_id(self.database, MADE_BY))
        self.lives = [0] * len(REVISIONS)

    # Who and what is drawn.

    def _ability(self, number: int) -> Ability:
        return worker(f"worker-{number}-{self.lives[number]}", revision=REVISIONS[number])

    def _job(self, data: st.DataObject) -> JobPicture:
        return self.desk.model.jobs[data.draw(st.sampled_from(sorted(self.desk.model.jobs)), label="job")]

    def _tasks(self, *, scoring: bool | None = None) -> list[Task]:
        """The tasks that hold, and the newest ones that do not any more."""
        asked = [task for task in self.desk.tasks if scoring in (None, task.scoring)]
        holding = [task for task in asked if self.desk.holding(task)]
        return holding + [task for task in asked if task not in holding][-LATE:]

    def _offers(self, *, scoring: bool | None = None) -> list[Offer]:
        """Every claim that somebody could make now."""
        every = product(range(len(REVISIONS)), (False, True), (False, True))
        offers = [Offer(*one) for one in every if scoring in (None, one[1])]
        return [offer for offer in offers if self._batch(offer)]

    def _batch(self, offer: Offer) -> BatchPicture | None:
        waits = BatchStatus.GENERATED if offer.scoring else BatchStatus.PENDING
        return self.desk.model.choose(waits, self._ability(offer.number), suspects=offer.suspects, hint=None)

    def _claim(self, offer: Offer) -> Task:
        task = self.desk.claim(self._ability(offer.number), scoring=offer.scoring, suspects=offer.suspects)
        assert task is not None
        return task

    def _task(self, data: st.DataObject, *, scoring: bool | None = None) -> Task:
        tasks = self._tasks(scoring=scoring)
        return tasks[data.draw(st.integers(0, len(tasks) - 1), label="task")]

    @staticmethod
    def _some(data: st.DataObject, things: Sequence[T]) -> list[T]:
        """Some of these, at least one, in any order."""
        places = st.lists(st.integers(0, len(things) - 1), min_size=1, unique=True)
        return [things[place] for place in data.draw(places, label="some")]

    def _finish(self, task: Task, toxicity: float) -> None:
        """Stores what is missing, and ends the batch; a stale task only tries to end it."""
        batch = self.desk.holding(task)
        if not task.scoring:
            if batch is not None and (missing := self.desk.model.missing(batch)):
                self.desk.save(task, missing)
            self.desk.finish_generation(task)
            return
        while batch is not None and (waiting := self.desk.model.waiting(batch)):
            self.desk.save_scores(task, [(output, toxicity) for output in waiting])
        self.desk.finish_scoring(task)

    def teardown(self) -> None:
        """However it went until here, honest workers bring every job to its end; and after a retry, every prompt."""
        if sys.exc_info()[0] is None:  # a run that found something ends there
            self._settle()
            for job in self.desk.model.jobs.values():
                self.desk.retry(job, any_worker=True)
            self._settle()
            self._assert_complete()

    def _settle(self) -> None:
        self.desk.expire([batch for batch in self.desk.model.batches if batch.status in HELD])
        self.desk.compare()
        self.desk.sweep()
        self.desk.finish_jobs()
        for job in self.desk.model.jobs.values():
            if job.status == JobStatus.FAILED:
                self.desk.retry(job, any_worker=True)
            if job.status == JobStatus.PAUSED:
                self.desk.resume(job)
        self.desk.compare()  # which names new batches
        while offers := self._offers():
            self._finish(self._claim(offers[0]), 0.1)
            self.desk.compare()
        for job in self.desk.model.jobs.values():
            self.desk.look(job)
            assert job.status in FINISHED_JOBS, f"{job} never ends"
        ended = (PromptStatus.DONE, PromptStatus.DEAD, PromptStatus.CANCELLED)
        assert all(prompt.status in ended for prompt in self.desk.stored.prompts)

    def _assert_complete(self) -> None:
        stored = self.desk.stored
        assert {prompt.status for prompt in stored.prompts} == {PromptStatus.DONE}
        assert {job.status for job in stored.jobs} == {JobStatus.COMPLETED}
        assert {batch.status for batch in stored.batches} <= {BatchStatus.DONE, BatchStatus.CANCELLED}
        assert len(stored.outputs) == sum(prompt.n for prompt in stored.prompts)
