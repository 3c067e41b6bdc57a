"""The tables of models of one's own, beside those of `models`: the models, the tunings that made them, and what those
learned from."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Double, ForeignKey, Index, Integer, Text, UniqueConstraint
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column

from db.models import AnyText, Base, Id, Json


class Tuning(Base):
    """One order to teach a model texts, claimed and leased as a batch is."""

    __tablename__ = "tunings"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(Text)  # of the model that it makes, without a version
    status: Mapped[str] = mapped_column(Text)  # a contract.spec.TuningStatus
    base: Mapped[str] = mapped_column(Text)  # as contract.names.model_name gives it
    device: Mapped[str] = mapped_column(Text)  # asked for: auto, cpu, cuda, cuda:N; not auto once it has begun
    dtype: Mapped[str] = mapped_column(Text)
    order: Mapped[dict[str, Any]] = mapped_column(Json)  # a contract.tunings.order.TuningOrder
    folder: Mapped[str] = mapped_column(Text)  # of its corpus and checkpoints
    model_id: Mapped[int | None] = mapped_column(Id)  # what came of it; the key is the one of `models.tuning_id`
    # The lease.
    worker: Mapped[str | None] = mapped_column(Text)
    lease_token: Mapped[str | None] = mapped_column(Text)
    lease_until: Mapped[float | None] = mapped_column(Double)
    deaths: Mapped[int] = mapped_column(Integer, server_default="0")  # of processes in a row, no step gained between
    owner: Mapped[str | None] = mapped_column(Text)  # the installation whose stack may end it; NULL = none may
    error: Mapped[str | None] = mapped_column(AnyText)
    code: Mapped[str | None] = mapped_column(Text)  # the same in a word: killed-worker, disk-full, …
    progress: Mapped[dict[str, Any] | None] = mapped_column(Json)  # the newest
    created_at: Mapped[float] = mapped_column(Double)
    started_at: Mapped[float | None] = mapped_column(Double)
    finished_at: Mapped[float | None] = mapped_column(Double)

    __table_args__ = (
        Index("ix_tunings_claim", "status", "id"),
        Index("ix_tunings_worker", "worker", sqlite_where=sql("worker IS NOT NULL"),
              postgresql_where=sql("worker IS NOT NULL")),
    )  # fmt: skip


class TuningPoint(Base):
    """What one step of a tuning showed: curves and samples are made of these."""

    __tablename__ = "tuning_points"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    tuning_id: Mapped[int] = mapped_column(ForeignKey("tunings.id"))
    step: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str] = mapped_column(Text)  # train, validation, samples
    values: Mapped[dict[str, Any]] = mapped_column(Json)
    created_at: Mapped[float] = mapped_column(Double)

    __table_args__ = (UniqueConstraint("tuning_id", "step", "kind"),)


class TuningOutput(Base):
    """An output that a tuning learned from, in the revision that it read."""

    __tablename__ = "tuning_outputs"

    tuning_id: Mapped[int] = mapped_column(ForeignKey("tunings.id"), primary_key=True, type_=Id, autoincrement=False)
    output_id: Mapped[int] = mapped_column(ForeignKey("outputs.id"), primary_key=True, type_=Id, autoincrement=False)
    revision: Mapped[int] = mapped_column(Integer, server_default="0")  # 0 = as generated, k = the k-th edit
    decision_id: Mapped[int | None] = mapped_column(ForeignKey("decisions.id"))  # that stood then

    __table_args__ = (Index("ix_tuning_outputs_output", "output_id"),)


class Model(Base):
    """A model of one's own, in one version: tuned or imported. A removed one is kept, as texts still name it."""

    __tablename__ = "models"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(Integer)
    base: Mapped[str | None] = mapped_column(Text)  # what it was tuned from; NULL = not known
    base_revision: Mapped[str | None] = mapped_column(Text)
    revision: Mapped[str] = mapped_column(Text)  # the hash of its files, as provenances have it
    folder: Mapped[str] = mapped_column(Text)  # absolute, where it was made
    tuning_id: Mapped[int | None] = mapped_column(ForeignKey("tunings.id"), unique=True)
    perplexity_before: Mapped[float | None] = mapped_column(Double)
    perplexity_after: Mapped[float | None] = mapped_column(Double)
    corpus: Mapped[list[dict[str, Any]]] = mapped_column(Json)  # of each file: name, sha256, documents, tokens
    settings: Mapped[dict[str, Any]] = mapped_column(Json)
    source: Mapped[str | None] = mapped_column(AnyText)  # what it was imported from
    created_at: Mapped[float] = mapped_column(Double)
    removed_at: Mapped[float | None] = mapped_column(Double)

    __table_args__ = (UniqueConstraint("name", "version"),)
