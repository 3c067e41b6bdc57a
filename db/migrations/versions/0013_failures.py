"""Why a prompt is dead, as a code; and what was used of one that was made to fit the model's window."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

CODES = (
    ("too-long", "%more than the model's % positions%"),
    ("killed-worker", "the worker process % times while it generated this prompt alone"),
    ("bad-settings", "its stored settings cannot be used%"),
    ("bad-settings", "logit_bias has the token id%"),
    ("wrong-tokenizer", "the tokenizer gives the token id%"),
    ("bad-prompt", "%has half of a surrogate pair%"),
    ("bad-prompt", "the prompt is empty, and this model%"),
    ("out-of-memory", "%OutOfMemoryError%"),
    ("out-of-memory", "MemoryError%"),
)
"""The codes of what earlier versions wrote; any other reason stays without one, which counts as unknown."""


def upgrade() -> None:
    op.add_column("prompts", sa.Column("code", sa.Text(), nullable=True))
    op.add_column("outputs", sa.Column("fitted", sa.JSON(), nullable=True))
    prompts, batches = _tables()
    # By way of the few batches that have some: a large job's prompts are not read through.
    dead = prompts.c.batch_id.in_(sa.select(batches.c.id).where(batches.c.dead > 0)) & (prompts.c.status == "dead")
    code = sa.case(*((prompts.c.reason.like(reason), code) for code, reason in CODES))
    op.execute(prompts.update().where(dead).values(code=code))


def _tables() -> tuple[sa.TableClause, sa.TableClause]:
    columns = ("batch_id", "status", "reason", "code")
    prompts = sa.table("prompts", *(sa.column(name, sa.Text()) for name in columns))
    return prompts, sa.table("batches", sa.column("id", sa.Integer()), sa.column("dead", sa.Integer()))
