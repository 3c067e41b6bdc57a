"""Sittings that reviewers ended: their cookies are dead."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "ended_sittings",
        sa.Column("sitting", sa.Text(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("sitting", name="pk_ended_sittings"),
    )
    op.create_index("ix_ended_sittings_until", "ended_sittings", ["until"])
