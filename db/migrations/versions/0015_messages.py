"""Prompts may be messages, and what a model's chat template made of them is kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("prompts", sa.Column("messages", sa.JSON(), nullable=True))
    op.add_column("prompts", sa.Column("sent", sa.Text(), nullable=True))
