"""What the tests of exports share: a database that is filled the way workers fill it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract.failures import FailureCode
from contract.spec import JobSpec, PromptRow, Provenance, SamplingSettings
from db.jobs.ingest import Ingest
from db.jobs.jobs import get_job
from db.review.decisions.acts import decide
from db.session.engine import Database, open_database
from db.work.claims import Ability, Claim, claim_generation, claim_scoring, finish_generation, finish_scoring
from db.work.outputs import (
    GeneratedText,
    IncompletePrompt,
    ScoredText,
    incomplete_prompts,
    provenance_id,
    record_fault,
    save_scores,
    save_texts,
)
from db.work.outputs import texts_to_score as waiting
from db.work.request_claims import claim_request, save_edit_scores

ABLE = Ability(worker="w1", model="demo", revision="r1", dtype="fp32", device="cpu", classifiers=("demo",))
MADE_BY = Provenance(
    model="demo", revision="r1", engine="inkmill 0.1", torch="2.13", device="cpu", isa="AVX2", dtype="fp32"
)
LEASE = 60.0


class Mill:
    """Jobs as producers and workers leave them, on a real database."""

    def __init__(self, database: Database, model: str = "demo") -> None:
        self.database = database
        self.able, self.made_by = replace(ABLE, model=model), replace(MADE_BY, model=model)

    def submit(self, rows: Iterable[PromptRow | str], *, finish: bool = True, **spec: Any) -> int:
        """A queued job of prompts; a text stands for a row that says nothing else."""
        n = spec.get("settings", SamplingSettings()).n
        values = {"name": "p.jsonl", "fingerprint": secrets.token_hex(8), "model": "demo", "safety": "demo", "seed": 7}
        ingest = Ingest(self.database, JobSpec(**{**values, **spec}))
        ingest.write(
            PromptRow(position=place, prompt=row, n=n) if isinstance(row, str) else row
            for place, row in enumerate(rows)
        )
        return ingest.finish() if finish else ingest.job_id

    def generate(
        self,
        write: Callable[[IncompletePrompt, int], str] = lambda work, sample: f" text {work.position}.{sample}",
        *,
        dead: dict[int, str] | None = None,
        logprobs: Callable[[str], list[Any]] | None = None,
        batches: int = 1_000_000,
    ) -> None:
        """Generates what waits; prompts at the positions in `dead` die of what stands there."""
        made_by = provenance_id(self.database, self.made_by)
        while batches and (claim := claim_generation(self.database, self.able, LEASE)):
            batches -= 1
            self._generate(claim, made_by, write, dead or {}, logprobs)

    def _generate(
        self,
        claim: Claim,
        made_by: int,
        write: Callable[[IncompletePrompt, int], str],
        dead: dict[int, str],
        logprobs: Callable[[str], list[Any]] | None,
    ) -> None:
        texts, sent = [], {}
        for work in incomplete_prompts(self.database, claim):
            if work.messages:
                sent[work.prompt_id] = f"<chat>{work.prompt}"
            if work.position in dead:
                reason = dead[work.position]
                code = FailureCode.TOO_LONG if reason.startswith("the prompt has ") else FailureCode.ENGINE_ERROR
                record_fault(self.database, claim, work.prompt_id, reason, number=1, certain=True, code=code)
                continue
            for sample in work.missing:
                text = write(work, sample)
                texts.append(
                    GeneratedText(
                        prompt_id=work.prompt_id,
                        sample_index=sample,
                        text=text,
                        finish_reason="length" if sample % 2 == 0 else "stop",
                        tokens=3 + sample,
                        prompt_tokens=2,
                        seed=2**53 - 1 - work.position,
                        mean_logprob=-2.91 - sample,
                        logprobs=logprobs(text) if logprobs else None,
                    )
                )
        if texts:
            save_texts(self.database, claim, texts, made_by, scored_later=self._scored(claim), sent=sent)
        finish_generation(self.database, claim)

    def _scored(self, claim: Claim) -> bool:
        return get_job(self.database, claim.job_id).safety != "none"

    def score(self, toxicity: Callable[[str], float] = lambda text: 0.9 if "bad" in text else 0.1) -> None:
        """Scores what waits; over 0.7 is flagged."""
        while claim := claim_scoring(self.database, self.able, LEASE):
            verdicts = [
                ScoredText(output_id=one.output_id, scores={"toxicity": toxicity(one.text), "insult": 0.25})
                for one in waiting(self.database, claim)
            ]
            save_scores(
                self.database,
                claim,
                verdicts,
                get_job(self.database, claim.job_id).blocklist,
                classifier="demo",
                classifier_revision="c1",
            )
            finish_scoring(self.database, claim)

    def mixed(self) -> int:
        """A job with good and bad texts, rows with settings of their own, and a dead prompt."""
        metadata = {"topic": "sea", "deep": {"a": [1, None]}}
        rows = [
            PromptRow(position=0, prompt="Once", n=2, custom_id="r-1", metadata=metadata),
            PromptRow(position=1, prompt="Twice", n=2, settings={"temperature": 0.5, "seed": 11}),
            PromptRow(position=2, prompt="Never", n=2, custom_id="r-3", metadata={"topic": "sky"}),
            PromptRow(position=3, prompt="", n=1, settings={"n": 1}),
        ]
        job = self.submit(rows, settings=SamplingSettings(n=2, stop=("\n",)))
        self.generate(
            lambda work, sample: f" {'bad' if sample else 'good'} {work.position}", dead={2: "ran out of luck"}
        )
        self.score()
        return job

    def decide(self, decision: str, *outputs: int) -> None:
        """What a reviewer decides of outputs."""
        for output in outputs:
            decide(self.database, output, "anna", decision, reason=f"seemed {decision}")

    def edit(self, output: int, text: str, toxicity: float | None = 0.2) -> None:
        """An edited text, and what a worker scores it; None = no worker has come to it yet."""
        decide(self.database, output, "anna", "edit", text=text, reason="=1+1")
        if toxicity is not None:
            claim = claim_request(self.database, "w1", ["demo"], LEASE)
            assert claim is not None
            save_edit_scores(self.database, claim, {"toxicity": toxicity, "insult": 0.1}, "c1")


@pytest.fixture
def mill(tmp_path: Path) -> Iterator[Mill]:
    database = open_database(f"sqlite:///{tmp_path / 'db' / 'mill.db'}")
    yield Mill(database)
    database.close()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder of its own for exports."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def mixed(mill: Mill) -> int:
    return mill.mixed()


@pytest.fixture
def postgres_mill(postgres_url: str) -> Iterator[Mill]:
    database = open_database(postgres_url)
    yield Mill(database)
    database.close()


@pytest.fixture(params=["mill", "postgres_mill"])
def any_mill(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)
