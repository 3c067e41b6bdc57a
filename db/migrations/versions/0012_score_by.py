"""What a classifier reads at once, and which sentence decided each score."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    for table in ("jobs", "scores"):
        op.add_column(table, sa.Column("score_by", sa.Text(), server_default=sa.text("'window'"), nullable=False))
    op.add_column("scores", sa.Column("deciding", sa.JSON(none_as_null=True), nullable=True))
