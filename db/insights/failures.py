"""Why a job's prompts are dead, by the code of the reason, and which prompts those are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import and_, func, select

from contract.failures import REMEDIES, FailureCode, Remedy, failure_code
from contract.spec import PromptStatus
from db.jobs.requeue import has_code
from db.models import Batch, Prompt
from db.session.engine import Database

EXAMPLES = 5
"""Prompts that are named of each group."""


@dataclass(frozen=True, slots=True)
class FailedPrompt:
    """One of the first prompts of a group."""

    position: int
    custom_id: str | None
    reason: str | None

    @property
    def name(self) -> str:
        """What people call it."""
        return self.custom_id or f"prompt {self.position + 1:,}"


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """The dead prompts of one code."""

    code: FailureCode
    prompts: int
    examples: tuple[FailedPrompt, ...]  # the first by position, at most `EXAMPLES`

    @property
    def remedy(self) -> Remedy:
        return REMEDIES[self.code]

    @property
    def reason(self) -> str:
        """The first one's; those of the others may differ in their numbers."""
        return next((prompt.reason for prompt in self.examples if prompt.reason), self.code.value)


def failure_groups(database: Database, job_id: int) -> list[FailureGroup]:
    """The dead prompts of a job by code, the largest group first."""
    # By way of the few batches that have some: a large job's prompts are not read through.
    batches = select(Batch.id).where(Batch.job_id == job_id, Batch.dead > 0)
    dead = and_(Prompt.batch_id.in_(batches), Prompt.status == PromptStatus.DEAD)
    first = select(Prompt.position, Prompt.custom_id, Prompt.reason).order_by(Prompt.position).limit(EXAMPLES)
    with database.read() as connection:
        counted: Counter[FailureCode] = Counter()
        for stored, prompts in connection.execute(select(Prompt.code, func.count()).where(dead).group_by(Prompt.code)):
            counted[failure_code(stored)] += prompts
        groups = []
        for code, prompts in counted.most_common():
            rows = connection.execute(first.where(dead, has_code(code)))
            groups.append(FailureGroup(code, prompts, tuple(FailedPrompt(*row) for row in rows)))
    return groups
