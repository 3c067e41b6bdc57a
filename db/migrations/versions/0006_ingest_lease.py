"""A producer is alive for as long as its lease lasts; and whose stack may fail a job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

SILENT_SECONDS = 60.0
"""How long a producer without a sign of life was borne before."""


def upgrade() -> None:
    op.alter_column("jobs", "producer_seen", new_column_name="ingest_until")
    op.execute(f"UPDATE jobs SET ingest_until = ingest_until + {SILENT_SECONDS} WHERE ingest_until IS NOT NULL")
    op.add_column("jobs", sa.Column("owner", sa.Text(), nullable=True))
