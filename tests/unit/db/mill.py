"""A producer and a worker in miniature: what tests of the database do to it, in the words of the house."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, select, text, update

from contract.spec import BatchStatus, JobSpec, JobStatus, PromptRow, Provenance, Safety, SamplingSettings
from db.jobs.ingest import Ingest
from db.jobs.jobs import get_job
from db.models import Batch, Output, Prompt, Score
from db.session.engine import Database
from db.work.batches import recount
from db.work.claims import Ability, Claim, claim_generation, claim_scoring, finish_generation, finish_scoring
from db.work.outputs import (
    GeneratedText,
    IncompletePrompt,
    ScoredText,
    incomplete_prompts,
    provenance_id,
    save_scores,
    save_texts,
    texts_to_score,
)

T = TypeVar("T")
LEASE = 60.0
COUNTERS = ("prompts", "outputs", "done", "dead", "cancelled", "generated", "scored", "unscored", "flagged",
            "prompt_tokens", "generated_tokens")  # fmt: skip
ABILITY = Ability(
    worker="worker-1", model="demo", revision="rev-1", dtype="fp32", device="cpu", classifiers=("demo", "original"),
    engine="stub 1", numerics="0f0f", threads=2,
)  # fmt: skip
MADE_BY = Provenance(
    model="demo", revision="rev-1", engine="stub 1", torch="2.13", device="cpu", isa="avx2", dtype="fp32"
)
SPEC = JobSpec(
    name="prompts.jsonl", fingerprint="f" * 64, model="demo", safety="demo", seed=8123,
    settings=SamplingSettings(), batch_size=2,
)  # fmt: skip


def rows(count: int, n: int = 1, start: int = 0) -> list[PromptRow]:
    """Plain prompts, `n` outputs each."""
    return [PromptRow(position=i, prompt=f"prompt {i}", n=n) for i in range(start, start + count)]


def worker(name: str, **other: Any) -> Ability:
    """What a worker of that name can serve: as the others, but for what is said."""
    return replace(ABILITY, worker=name, **other)


def text_of(work: IncompletePrompt, index: int, text: str | None = None) -> GeneratedText:
    """A text for one missing sample of a prompt: 3 prompt tokens, as many tokens as its place says."""
    return GeneratedText(
        prompt_id=work.prompt_id,
        sample_index=index,
        text=f"text {work.position}.{index}" if text is None else text,
        finish_reason="length",
        tokens=work.position + index + 1,
        prompt_tokens=3,
        seed=work.position * 1000 + index,
        mean_logprob=-1.5,
    )


def together(tasks: Sequence[Callable[[], T]]) -> list[T | Exception]:
    """Runs the tasks in threads that start at about the same moment; an exception stands for its task's result."""

    def caught(task: Callable[[], T]) -> T | Exception:
        try:
            return task()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(caught, tasks))


def wait_for_lock(database: Database) -> None:
    """Until somebody waits for a row that another transaction on this PostgreSQL has locked."""
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                   "AND wait_event_type = 'Lock'")  # fmt: skip
    for _ in range(500):
        with database.read() as connection:
            if connection.scalar(waiting):
                return
        time.sleep(0.01)
    raise AssertionError("nobody waits")


def before_write(monkeypatch: pytest.MonkeyPatch, database: Database, number: int, act: Callable[[], object]) -> None:
    """Something happens once, right before that write transaction, after what was looked for was found."""
    real, begun = database.write, 0

    def write() -> AbstractContextManager[Connection]:
        nonlocal begun
        begun += 1
        if begun == number:
            act()
        return real()

    monkeypatch.setattr(database, "write", write)


class Mill:
    """A database with a miniature producer and worker around it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def submit(self, prompts: int | Iterable[PromptRow] = 4, n: int = 1, **spec: Any) -> int:
        """A complete job; its batches hold two prompts each unless `batch_size` is said."""
        ingest = Ingest(self.database, replace(SPEC, **spec), again=True)
        ingest.write(rows(prompts, n) if isinstance(prompts, int) else prompts)
        return ingest.finish()

    def claim(self, by: Ability = ABILITY, **how: Any) -> Claim:
        """A claimed batch to generate; fails where there is none."""
        found = claim_generation(self.database, by, LEASE, **how)
        assert found is not None, "there is nothing to claim"
        return found

    def claim_texts(self, by: Ability = ABILITY, **how: Any) -> Claim:
        """A claimed batch to score; fails where there is none."""
        found = claim_scoring(self.database, by, LEASE, **how)
        assert found is not None, "there is nothing to score"
        return found

    def missing(self, claim: Claim) -> list[tuple[IncompletePrompt, int]]:
        """Prompt and sample index of every output that a claimed batch lacks."""
        return [(work, index) for work in incomplete_prompts(self.database, claim) for index in work.missing]

    def save(self, claim: Claim, texts: Sequence[GeneratedText]) -> None:
        made_by = provenance_id(self.database, MADE_BY)
        scored_later = get_job(self.database, claim.job_id).safety != "none"
        save_texts(self.database, claim, texts, made_by, scored_later=scored_later)

    def generate(self, claim: Claim, at_most: int | None = None) -> None:
        """Stores what a claimed batch lacks, or the first few of it."""
        self.save(claim, [text_of(work, index) for work, index in self.missing(claim)[:at_most]])

    def finish(self, claim: Claim) -> bool:
        """Generates all that is missing and ends the batch's generation. Returns whether it goes on to scoring."""
        if self.missing(claim):
            self.generate(claim)
        return finish_generation(self.database, claim)

    def save_verdicts(self, claim: Claim, verdicts: Sequence[ScoredText]) -> None:
        words = get_job(self.database, claim.job_id).blocklist
        save_scores(self.database, claim, verdicts, words, classifier="demo", classifier_revision="rev-c")

    def score(self, claim: Claim, toxicity: float = 0.1) -> None:
        """Scores every waiting text of a claimed batch alike."""
        waiting = texts_to_score(self.database, claim)
        self.save_verdicts(claim, [ScoredText(output_id=t.output_id, scores={"toxicity": toxicity}) for t in waiting])

    def finish_texts(self, claim: Claim, toxicity: float = 0.1) -> None:
        """Scores what is waiting and ends the batch."""
        self.score(claim, toxicity)
        finish_scoring(self.database, claim)

    def work_off(self, by: Ability = ABILITY) -> int:
        """Generates and scores until nothing is claimable. Returns how many batches were claimed."""
        claimed = 0
        while True:
            to_generate = claim_generation(self.database, by, LEASE)
            if to_generate is not None:
                self.finish(to_generate)
            to_score = claim_scoring(self.database, by, LEASE)
            if to_score is not None:
                self.finish_texts(to_score)
            if to_generate is None and to_score is None:
                return claimed
            claimed += (to_generate is not None) + (to_score is not None)

    def expire(self, *claims: Claim) -> None:
        """Lets leases run out now."""
        with self.database.write() as connection:
            held = Batch.id.in_([claim.batch_id for claim in claims])
            connection.execute(update(Batch).where(held).values(lease_until=1.0))

    def batch(self, batch_id: int) -> Any:
        """A batch's row."""
        with self.database.read() as connection:
            return connection.execute(select(Batch.__table__).where(Batch.id == batch_id)).one()

    def batches(self, job_id: int) -> list[Any]:
        with self.database.read() as connection:
            found = select(Batch.__table__).where(Batch.job_id == job_id).order_by(Batch.id)
            return list(connection.execute(found))

    def states(self, job_id: int) -> list[BatchStatus]:
        """A job's batches' states, oldest first."""
        return [BatchStatus(row.status) for row in self.batches(job_id)]

    def prompts(self, job_id: int) -> list[Any]:
        with self.database.read() as connection:
            found = select(Prompt.__table__).where(Prompt.job_id == job_id).order_by(Prompt.position)
            return list(connection.execute(found))

    def prompt_states(self, job_id: int) -> list[str]:
        return [row.status for row in self.prompts(job_id)]

    def outputs(self, job_id: int) -> list[Any]:
        with self.database.read() as connection:
            found = select(Output.__table__, Prompt.position).join(Prompt, Prompt.id == Output.prompt_id)
            found = found.where(Output.job_id == job_id).order_by(Prompt.position, Output.sample_index)
            return list(connection.execute(found))

    def scores(self) -> list[Any]:
        with self.database.read() as connection:
            return list(connection.execute(select(Score.__table__).order_by(Score.output_id)))

    def status(self, job_id: int) -> JobStatus:
        return get_job(self.database, job_id).status

    def assert_counters(self) -> None:
        """Every batch's counters equal what its rows say, and no batch is done before its texts are."""
        with self.database.read() as connection:
            stored = connection.execute(select(Batch.__table__).order_by(Batch.id)).all()
        for first in range(0, len(stored), 1000):
            self._assert_counted(stored[first : first + 1000])
        self._assert_settled()

    def _assert_counted(self, stored: Sequence[Any]) -> None:
        ids = [row.id for row in stored]
        with self.database.write() as connection:
            recount(connection, ids)
            counted = connection.execute(select(Batch.__table__).where(Batch.id.in_(ids)).order_by(Batch.id)).all()
        for before, after in zip(stored, counted, strict=True):
            said, true = ({name: getattr(row, name) for name in COUNTERS} for row in (before, after))
            assert said == true, f"batch {before.id} ({before.status}) says {said}, its rows say {true}"

    def _assert_settled(self) -> None:
        with self.database.read() as connection:
            unsettled = connection.execute(
                select(Output.id, Batch.id)
                .join(Prompt, Prompt.id == Output.prompt_id)
                .join(Batch, Batch.id == Prompt.batch_id)
                .where(Batch.status == BatchStatus.DONE, Output.safety == Safety.WAITING)
            ).all()
        assert not unsettled, f"texts that wait for scores lie in batches that are done: {unsettled}"
