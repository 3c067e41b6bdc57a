"""What is promised of every prompt and text, judged by the rows alone and by what the workers did.

It does not ask the model: an error that the model shares with `db` is still seen here.
"""

from __future__ import annotations

from collections import Counter

from contract.spec import BatchStatus, JobStatus, PromptStatus, Safety
from tests.unit.db.picture import HELD, OPEN, BatchLine, Lines

ENDED = (JobStatus.COMPLETED, JobStatus.CANCELLED)
ENOUGH = 3
"""Faults of its own, or deaths over it alone, that may make a prompt dead."""


class Ledger:
    """What was submitted, what was stored and who is to blame, as those saw it who did it."""

    def __init__(self) -> None:
        self.submitted: dict[int, tuple[int, int]] = {}  # prompt: its job, its n
        self.accepted: dict[tuple[int, int], str] = {}  # prompt and sample: the text of the first save that was taken
        self.faults: Counter[int] = Counter()  # of each prompt since it was submitted or retried
        self.lone_deaths: Counter[int] = Counter()
        self.may_save: dict[int, set[str]] = {}  # the claims that held texts of a job when it was cancelled

    def save(self, job: int, token: str, texts: list[tuple[int, int, str]]) -> None:
        """A save was taken."""
        assert token in self.may_save.get(job, {token}), f"a claim from after the cancel saved texts of job {job}"
        for prompt, sample, text in texts:
            self.accepted.setdefault((prompt, sample), text)

    def fault(self, prompt: int, *, certain: bool) -> None:
        """A prompt's own error was taken."""
        self.faults[prompt] += ENOUGH if certain else 1

    def death(self, batch: BatchLine, stored: Lines) -> None:
        """A process died, or fell silent, over a batch that it had taken alone."""
        mine = [prompt.id for prompt in stored.prompts if prompt.batch == batch.id]
        self.lone_deaths.update(mine)

    def cancel(self, job: int, stored: Lines) -> None:
        self.may_save[job] = {batch.token for batch in stored.batches if batch.job == job and batch.token}

    def retry(self, job: int) -> None:
        self.may_save.pop(job, None)

    def check(self, stored: Lines) -> None:
        """Asserts what is promised."""
        assert {p.id: (p.job, p.n) for p in stored.prompts} == self.submitted, "a prompt was lost, doubled or changed"
        found = {(output.prompt, output.sample): output.text for output in stored.outputs}
        assert len(found) == len(stored.outputs), "a text is stored twice"
        assert found == self.accepted, "what is stored is not what the first saves stored"
        self._check_prompts(stored)
        _check_batches(stored)

    def _check_prompts(self, stored: Lines) -> None:
        settled = Counter(output.prompt for output in stored.outputs if output.safety != Safety.WAITING)
        for prompt in stored.prompts:
            if prompt.status == PromptStatus.DONE:
                assert settled[prompt.id] == prompt.n, f"{prompt} is done, {settled[prompt.id]} texts are settled"
            if prompt.status == PromptStatus.DEAD:
                guilt = max(self.faults[prompt.id], self.lone_deaths[prompt.id])
                assert guilt >= ENOUGH and prompt.reason, f"{prompt} is dead after {guilt} faults of its own"
            else:
                assert prompt.reason is None, f"{prompt} is not dead"

    def forgive(self, stored: Lines) -> None:
        """Prompts that a retry took up have all their chances again."""
        for prompt in stored.prompts:
            if not prompt.faults:
                del self.faults[prompt.id]
            if not prompt.deaths and not prompt.faults:
                del self.lone_deaths[prompt.id]


def _check_batches(stored: Lines) -> None:
    ended = {job.id for job in stored.jobs if job.status in ENDED}
    batch_of = {prompt.id: prompt.batch for prompt in stored.prompts}
    unfinished = {prompt.batch for prompt in stored.prompts if prompt.status == PromptStatus.PENDING}
    unfinished |= {batch_of[output.prompt] for output in stored.outputs if output.safety == Safety.WAITING}
    for batch in stored.batches:
        over = batch.status in (BatchStatus.DONE, BatchStatus.CANCELLED)
        assert not (over and batch.id in unfinished), f"{batch} is over, and something in it is not"
        assert not (batch.job in ended and batch.status in OPEN), f"{batch} is open, and its job is over"
        assert (batch.token is not None) == (batch.status in HELD), f"{batch} is held by nobody, or by somebody"
        assert not (batch.worker and not batch.token), f"{batch} has a worker and no lease"
