"""Which revision of its classifier scores a job, and which ones the workers have; jobs whose texts are scored again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("served_classifier_revision", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("rescoring", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("workers", sa.Column("classifier_revisions", sa.JSON(none_as_null=True), nullable=True))
