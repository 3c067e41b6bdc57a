"""A hypothesis state machine: producers, workers, a sweeper and a user who all do what they like to one database.

Which operation comes next is drawn here; what it does, and what it must come to, stands in `workers` and `lockstep`.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from contract.failures import FailureCode
from contract.spec import Safety
from tests.unit.db.crew import REVISIONS, Crew
from tests.unit.db.picture import HELD, UNDER_WAY

MOST_JOBS = 3
COUNTS = st.lists(st.integers(1, 3), min_size=1, max_size=6)
SAFETIES = st.sampled_from(["demo", "demo", "none"])
SOMEBODY = st.integers(0, len(REVISIONS) - 1)
TOXICITIES = st.sampled_from([0.1, 0.6, 0.9])
REASONS = tuple(FailureCode)[:2]
"""Why prompts die here: each reason is its code."""


class Machine(Crew):
    """What may happen, in any order."""

    # Users.

    @initialize(counts=COUNTS, batch_size=st.integers(1, 4), safety=SAFETIES, written=st.integers(0, 3))
    def submit_first(self, counts: list[int], batch_size: int, safety: str, written: int) -> None:
        """A job, perhaps with some texts that wait for their scores."""
        self.desk.submit(counts, batch_size, safety)
        self.desk.compare()
        for offer in self._offers(scoring=False)[:1] * written:
            if self._batch(offer):
                self._finish(self._claim(offer), 0.1)

    @precondition(lambda self: len(self.desk.model.jobs) < MOST_JOBS)
    @rule(counts=COUNTS, batch_size=st.integers(1, 4), safety=SAFETIES)
    def submit(self, counts: list[int], batch_size: int, safety: str) -> None:
        self.desk.submit(counts, batch_size, safety)

    @rule(
        data=st.data(),
        how=st.sampled_from(["cancel", "cancel by half", "fail"]),
        unscored=st.booleans(),
        retried=st.booleans(),
    )
    def stop(self, data: st.DataObject, how: str, unscored: bool, retried: bool) -> None:
        """A user cancels a job, or is killed while he does; or its model cannot be loaded. Nobody may score what was
        cancelled. He may retry it at once."""
        job = self._job(data)
        if how == "fail":
            self.desk.fail(job)
        elif how == "cancel" or job.status not in UNDER_WAY:
            self.desk.cancel(job)
        else:
            self.desk.cancel_by_half(job)
        if unscored:
            self.desk.leave_unscored(job)
        if retried:
            self.desk.compare()
            self.desk.retry(job)
        self.desk.look(job)

    @rule(data=st.data(), renewed=st.booleans(), resumed=st.booleans())
    def pause(self, data: st.DataObject, renewed: bool, resumed: bool) -> None:
        """Workers may notice at once, and give back what they write; and it may be resumed at once."""
        job = self._job(data)
        self.desk.pause(job)
        if renewed and self._tasks():
            self.desk.renew(self._tasks())
        if resumed:
            self.desk.compare()
            self.desk.resume(job)
        self.desk.look(job)

    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        self.desk.resume(self._job(data))

    @rule(data=st.data(), any_worker=st.booleans(), reason=st.none() | st.sampled_from(REASONS))
    def retry(self, data: st.DataObject, any_worker: bool, reason: FailureCode | None) -> None:
        job = self._job(data)
        self.desk.retry(job, any_worker=any_worker, reason=reason)
        self.desk.look(job)

    @rule(data=st.data(), threshold=st.sampled_from([0.5, 0.7]), words=st.sampled_from([(), ("odd",)]))
    def reflag(self, data: st.DataObject, threshold: float, words: tuple[str, ...]) -> None:
        job = self._job(data)
        self.desk.reflag(job, threshold, words)
        self.desk.look(job)

    # Workers, and what becomes of them.

    @rule(data=st.data(), number=SOMEBODY, scoring=st.booleans(), suspects=st.booleans())
    def claim_anything(self, data: st.DataObject, number: int, scoring: bool, suspects: bool) -> None:
        """There may be nothing, and the hint may be anything."""
        hint = data.draw(st.sampled_from([batch.id for batch in self.desk.model.batches]), label="hint")
        self.desk.claim(self._ability(number), scoring=scoring, suspects=suspects, hint=hint)

    @precondition(lambda self: self._offers(scoring=False))
    @rule(data=st.data(), stored=st.sampled_from(["nothing", "some", "all"]))
    def claim_prompts(self, data: st.DataObject, stored: str) -> None:
        """They may be worked off with nothing between."""
        task = self._claim(data.draw(st.sampled_from(self._offers(scoring=False)), label="offer"))
        if stored == "all":
            self._finish(task, 0.1)
        elif stored == "some" and task.samples:
            self.desk.save(task, self._some(data, task.samples))

    @precondition(lambda self: self._offers(scoring=True))
    @rule(data=st.data())
    def claim_texts(self, data: st.DataObject) -> None:
        self._claim(data.draw(st.sampled_from(self._offers(scoring=True)), label="offer"))

    @precondition(lambda self: self._tasks())
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        self.desk.renew(self._some(data, self._tasks()))

    @precondition(lambda self: self._tasks())
    @rule(data=st.data(), at_once=st.booleans())
    def let_go(self, data: st.DataObject, at_once: bool) -> None:
        """Gives a batch back at once, or leaves it until its lease has run out."""
        (self.desk.release if at_once else self.desk.leave_to_lease)(self._task(data))

    @precondition(lambda self: any(batch.worker for batch in self.desk.model.batches))
    @rule(number=SOMEBODY, in_order=st.booleans(), told_twice=st.booleans())
    def end(self, number: int, in_order: bool, told_twice: bool) -> None:
        """A worker process leaves in order, or dies."""
        name = self._ability(number).worker
        self.lives[number] += 1
        end = self.desk.give_back if in_order else self.desk.die
        end(name)
        if told_twice:
            self.desk.compare()
            end(name)

    @precondition(lambda self: any(batch.status in HELD for batch in self.desk.model.batches))
    @rule(data=st.data(), swept=st.booleans())
    def expire(self, data: st.DataObject, swept: bool) -> None:
        held = [batch for batch in self.desk.model.batches if batch.status in HELD]
        self.desk.expire(self._some(data, held))
        if swept:
            self.desk.compare()
            self.desk.sweep()

    @rule(jobs=st.booleans())
    def sweep(self, jobs: bool) -> None:
        self.desk.sweep()
        if jobs:
            self.desk.finish_jobs()

    @precondition(lambda self: self._offers(scoring=False))
    @rule(number=SOMEBODY, times=st.integers(4, 16), suspects=st.booleans())
    def expire_again_and_again(self, number: int, times: int, suspects: bool) -> None:
        """A worker that claims and never saves."""
        for _ in range(times):
            task = self.desk.claim(self._ability(number), scoring=False, suspects=suspects)
            if task is None or (batch := self.desk.holding(task)) is None:
                return
            self.desk.expire([batch])
            self.desk.compare()
            self.desk.sweep()
            self.desk.compare()

    @precondition(lambda self: self._offers())
    @rule(data=st.data(), times=st.integers(2, 8))
    def die_again_and_again(self, data: st.DataObject, times: int) -> None:
        """Workers that die over whatever they take."""
        for _ in range(times):
            if offers := self._offers():
                offer = data.draw(st.sampled_from(offers), label="offer")
                self._claim(offer)
                self.desk.compare()
                self.end(offer.number, in_order=False, told_twice=False)
                self.desk.compare()

    # Texts.

    @precondition(lambda self: any(task.samples for task in self._tasks(scoring=False)))
    @rule(data=st.data())
    def save(self, data: st.DataObject) -> None:
        tasks = [task for task in self._tasks(scoring=False) if task.samples]
        task = tasks[data.draw(st.integers(0, len(tasks) - 1), label="task")]
        self.desk.save(task, self._some(data, task.samples))

    @precondition(lambda self: any(task.samples for task in self._tasks(scoring=False)))
    @rule(data=st.data(), reason=st.sampled_from(REASONS), times=st.integers(1, 3), certain=st.booleans())
    def fault(self, data: st.DataObject, reason: FailureCode, times: int, certain: bool) -> None:
        """Of a prompt that still lacks a text; an answer may be lost, and it is told again."""
        tasks = [task for task in self._tasks(scoring=False) if task.samples]
        task = tasks[data.draw(st.integers(0, len(tasks) - 1), label="task")]
        prompt, _ = data.draw(st.sampled_from(task.samples), label="sample")
        if self.desk.holding(task) is None or self.desk.model.prompts[prompt].lacks:
            for _ in range(times):
                self.desk.fault(task, prompt, reason, certain=certain)

    # Scores.

    @precondition(lambda self: any(task.outputs for task in self._tasks(scoring=True)))
    @rule(data=st.data(), toxicity=TOXICITIES)
    def score(self, data: st.DataObject, toxicity: float) -> None:
        tasks = [task for task in self._tasks(scoring=True) if task.outputs]
        task = tasks[data.draw(st.integers(0, len(tasks) - 1), label="task")]
        self.desk.save_scores(task, [(output, toxicity) for output in self._some(data, task.outputs)])

    @precondition(lambda self: any(task.outputs for task in self._tasks(scoring=True)))
    @rule(data=st.data(), times=st.integers(1, 3))
    def fail_to_score(self, data: st.DataObject, times: int) -> None:
        tasks = [task for task in self._tasks(scoring=True) if task.outputs]
        task = tasks[data.draw(st.integers(0, len(tasks) - 1), label="task")]
        output = data.draw(st.sampled_from(task.outputs), label="output")
        if self.desk.holding(task) is None or output.safety == Safety.WAITING:
            for _ in range(times):
                self.desk.charge(task, output)
        if times == 3:
            self.desk.give_up(task, output)

    # Either.

    @precondition(lambda self: self._tasks())
    @rule(data=st.data(), toxicity=TOXICITIES)
    def finish(self, data: st.DataObject, toxicity: float) -> None:
        self._finish(self._task(data), toxicity)

    # What holds.

    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        self.desk.compare()
