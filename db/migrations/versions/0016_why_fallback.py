"""Why a worker's engine writes one text at a time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.add_column("workers", sa.Column("why_fallback", sa.Text(), nullable=True))
