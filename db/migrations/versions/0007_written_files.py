"""Which files were written of jobs, and with what in them: only those may be replaced or removed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "written_files",
        sa.Column("id", Id, nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("job_id", Id, nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_written_files_job_id"),
        sa.PrimaryKeyConstraint("id", name="pk_written_files"),
    )
    op.create_index("ix_written_files_digest", "written_files", ["digest"], unique=False)
