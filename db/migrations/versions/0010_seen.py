"""How a text was seen before it was decided, and which texts each reviewer has had on the screen."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("decisions", sa.Column("seen", sa.Text(), nullable=True))
    op.create_table(
        "looks",
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("output_id", Id, autoincrement=False, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("seen", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["output_id"], ["outputs.id"], name="fk_looks_output_id"),
        sa.PrimaryKeyConstraint("reviewer", "output_id", name="pk_looks"),
    )
