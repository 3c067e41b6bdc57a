"""Models of one's own, the tunings that make them, and what those learned from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "tunings",
        sa.Column("id", ID, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("name", "status", "base", "device", "dtype")),
        sa.Column("order", sa.JSON(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("model_id", ID, nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("lease_token", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("deaths", sa.Integer(), server_default="0", nullable=False),
        *(sa.Column(name, sa.Text(), nullable=True) for name in ("owner", "error", "code")),
        sa.Column("progress", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_tunings"),
    )
    op.create_index("ix_tunings_claim", "tunings", ["status", "id"])
    held = sa.text("worker IS NOT NULL")
    op.create_index("ix_tunings_worker", "tunings", ["worker"], sqlite_where=held, postgresql_where=held)
    _create_points()
    _create_outputs()
    _create_models()


def _create_points() -> None:
    op.create_table(
        "tuning_points",
        sa.Column("id", ID, nullable=False),
        sa.Column("tuning_id", ID, nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("values", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["tuning_id"], ["tunings.id"], name="fk_tuning_points_tuning_id"),
        sa.PrimaryKeyConstraint("id", name="pk_tuning_points"),
        sa.UniqueConstraint("tuning_id", "step", "kind", name="uq_tuning_points_tuning_id_step_kind"),
    )


def _create_outputs() -> None:
    op.create_table(
        "tuning_outputs",
        sa.Column("tuning_id", ID, autoincrement=False, nullable=False),
        sa.Column("output_id", ID, autoincrement=False, nullable=False),
        sa.Column("revision", sa.Integer(), server_default="0", nullable=False),
        sa.Column("decision_id", ID, nullable=True),
        sa.ForeignKeyConstraint(["tuning_id"], ["tunings.id"], name="fk_tuning_outputs_tuning_id"),
        sa.ForeignKeyConstraint(["output_id"], ["outputs.id"], name="fk_tuning_outputs_output_id"),
        sa.ForeignKeyConstraint(["decision_id"], ["decisions.id"], name="fk_tuning_outputs_decision_id"),
        sa.PrimaryKeyConstraint("tuning_id", "output_id", name="pk_tuning_outputs"),
    )
    op.create_index("ix_tuning_outputs_output", "tuning_outputs", ["output_id"])


def _create_models() -> None:
    op.create_table(
        "models",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("base", sa.Text(), nullable=True),
        sa.Column("base_revision", sa.Text(), nullable=True),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("tuning_id", ID, nullable=True),
        sa.Column("perplexity_before", sa.Double(), nullable=True),
        sa.Column("perplexity_after", sa.Double(), nullable=True),
        sa.Column("corpus", sa.JSON(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("removed_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["tuning_id"], ["tunings.id"], name="fk_models_tuning_id"),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sa.UniqueConstraint("tuning_id", name="uq_models_tuning_id"),
        sa.UniqueConstraint("name", "version", name="uq_models_name_version"),
    )
