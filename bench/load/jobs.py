"""The jobs that savers and claimants work off, and what they say they can serve."""

from __future__ import annotations

import secrets

from contract.spec import JobSpec, PromptRow, Provenance, SamplingSettings
from db.jobs.ingest import Ingest
from db.session.engine import Database
from db.work.claims import Ability

LEASE = 600.0
"""Seconds: nothing here is to be taken up again."""
PROMPT = "Once upon a time the old river carried her letter past the harbour, where nobody waited, until number %d came"


def submit(database: Database, prompts: int, batch_size: int, safety: str) -> int:
    """A job of plain prompts. Returns its id."""
    spec = JobSpec(
        name="load", fingerprint=secrets.token_hex(32), model="demo", safety=safety, seed=1911,
        settings=SamplingSettings(), batch_size=batch_size,
    )  # fmt: skip
    ingest = Ingest(database, spec)
    ingest.write(PromptRow(position=i, prompt=PROMPT % i, n=1, custom_id=f"night-{i:08d}") for i in range(prompts))
    return ingest.finish()


def ability(worker: str) -> Ability:
    """What a process of that name can serve: every such job."""
    return Ability(worker=worker, model="demo", revision="stub 1", dtype="fp32", device="cpu", classifiers=("demo",))


def provenance() -> Provenance:
    """What its texts were made by."""
    return Provenance(
        model="demo", revision="stub 1", engine="stub 1", torch="none", device="cpu", isa="", dtype="fp32"
    )
