"""What decides the last bits of a text is part of what made it, and of what a job's later workers must have alike."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

BEFORE = ("model", "revision", "engine", "torch", "device", "isa", "dtype")
TEXTS = ("processor", "onednn", "variables", "numerics")


def upgrade() -> None:
    for name, kind in (("served_engine", sa.Text()), ("served_numerics", sa.Text()), ("served_threads", sa.Integer())):
        op.add_column("jobs", sa.Column(name, kind, nullable=True))
    for name, kind in (("engine", sa.Text()), ("numerics", sa.Text()), ("threads", sa.Integer())):
        op.add_column("workers", sa.Column(name, kind, nullable=True))
    with op.batch_alter_table("provenances") as table:
        table.drop_constraint("uq_provenances_" + "_".join(BEFORE), type_="unique")
        table.add_column(sa.Column("threads", sa.Integer(), server_default="0", nullable=False))
        for name in TEXTS:
            table.add_column(sa.Column(name, sa.Text(), server_default=sa.text("''"), nullable=False))
        table.create_unique_constraint("uq_provenances_all", [*BEFORE, "threads", *TEXTS])
