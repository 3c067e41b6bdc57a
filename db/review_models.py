"""The tables of reviewing, beside those of `models`: what the queue is read from, decisions, claims, looks,
ended sittings, score requests."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Double, ForeignKey, Index, Integer, Text, UniqueConstraint, false
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column

from db.models import AnyText, Base, Id, Json

NO_SCORE = -1.0
"""The top score in the queue of a text without scores: it comes after all that have some."""


class Review(Base):
    """An output that people look at: it was flagged, or decided. `review_sync` keeps it in step with `outputs`.

    A narrow copy of what filters and orders need: a combination for which there is no index reads some megabytes of
    these rows and not the texts.
    """

    __tablename__ = "reviews"

    output_id: Mapped[int] = mapped_column(ForeignKey("outputs.id"), primary_key=True, type_=Id, autoincrement=False)
    job_id: Mapped[int] = mapped_column(Id)
    state: Mapped[str] = mapped_column(Text)  # a contract.review.State
    flagged: Mapped[bool] = mapped_column(Boolean, server_default=false())
    top_score: Mapped[float] = mapped_column(Double)
    lot: Mapped[int] = mapped_column(Integer)  # drawn once; the random order
    reasons: Mapped[str | None] = mapped_column(Text)  # the flag reasons, a JSON list
    # The scores of the text that stands.
    toxicity: Mapped[float | None] = mapped_column(Double)
    severe_toxicity: Mapped[float | None] = mapped_column(Double)
    obscene: Mapped[float | None] = mapped_column(Double)
    threat: Mapped[float | None] = mapped_column(Double)
    insult: Mapped[float | None] = mapped_column(Double)
    identity_attack: Mapped[float | None] = mapped_column(Double)
    sexual_explicit: Mapped[float | None] = mapped_column(Double)
    # The decision that stands.
    revision: Mapped[int] = mapped_column(Integer, server_default="0")  # of the text: 0 as generated, k the k-th edit
    decision_id: Mapped[int | None] = mapped_column(Id)
    decided_by: Mapped[str | None] = mapped_column(Text)
    version: Mapped[int] = mapped_column(Id, server_default="0")  # the newest entry's id, undo or not; 0 = none

    __table_args__ = (
        # Each order, over all jobs and over one.
        Index("ix_reviews_score", "state", "top_score", "output_id"),
        Index("ix_reviews_job_score", "job_id", "state", "top_score", "output_id"),
        Index("ix_reviews_lot", "state", "lot", "output_id"),
        Index("ix_reviews_job_lot", "job_id", "state", "lot", "output_id"),
        Index("ix_reviews_oldest", "state", "output_id"),
        Index("ix_reviews_job_oldest", "job_id", "state", "output_id"),
        Index("ix_reviews_decided_by", "decided_by", "decision_id", sqlite_where=sql("decided_by IS NOT NULL"),
              postgresql_where=sql("decided_by IS NOT NULL")),
    )  # fmt: skip


class Decision(Base):
    """One entry of the record. Rows are appended and never changed."""

    __tablename__ = "decisions"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    output_id: Mapped[int] = mapped_column(ForeignKey("outputs.id"))
    reviewer: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)  # a contract.review.Action
    from_state: Mapped[str] = mapped_column(Text)
    to_state: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(AnyText)
    text: Mapped[str | None] = mapped_column(AnyText)  # of an edit
    from_revision: Mapped[int] = mapped_column(Integer, server_default="0")
    revision: Mapped[int] = mapped_column(Integer, server_default="0")  # of the text that stands after it
    # What stood before it: an undo brings this back.
    from_decision: Mapped[int | None] = mapped_column(Id)
    undoes: Mapped[int | None] = mapped_column(Id)
    # A page that did not hear the answer sends the same key again.
    key: Mapped[str | None] = mapped_column(Text, unique=True)
    flagged: Mapped[bool] = mapped_column(Boolean)  # whether the output was, at that moment
    # The chance of drawing just this output of its job's unflagged ones, where it was drawn at random.
    drawn: Mapped[float | None] = mapped_column(Double)
    seconds: Mapped[float | None] = mapped_column(Double)  # from the claim to the decision
    seen: Mapped[str | None] = mapped_column(Text)  # a contract.review.Seen; null = nobody said
    created_at: Mapped[float] = mapped_column(Double)

    __table_args__ = (Index(None, "output_id"), Index(None, "reviewer", "id"),
                      # Of a day's work only this index is read.
                      Index("ix_decisions_day", "created_at", "reviewer", "action"))  # fmt: skip


class ReviewClaim(Base):
    """An output in a reviewer's hands, until it runs out."""

    __tablename__ = "review_claims"

    output_id: Mapped[int] = mapped_column(ForeignKey("outputs.id"), primary_key=True, type_=Id, autoincrement=False)
    reviewer: Mapped[str] = mapped_column(Text)
    since: Mapped[float] = mapped_column(Double)
    until: Mapped[float] = mapped_column(Double)
    drawn: Mapped[float | None] = mapped_column(Double)  # as Decision.drawn


class Look(Base):
    """A text that a reviewer has had on the screen."""

    __tablename__ = "looks"

    reviewer: Mapped[str] = mapped_column(Text, primary_key=True)
    output_id: Mapped[int] = mapped_column(ForeignKey("outputs.id"), primary_key=True, type_=Id, autoincrement=False)
    revision: Mapped[int] = mapped_column(Integer)  # of the text that stood then
    seen: Mapped[str] = mapped_column(Text)  # shown, revealed, listed


class EndedSitting(Base):
    """A sitting whose reviewer signed out, until its cookie would have run out by itself."""

    __tablename__ = "ended_sittings"

    sitting: Mapped[str] = mapped_column(Text, primary_key=True)  # drawn at signing in; the cookie says it
    until: Mapped[float] = mapped_column(Double)  # by the clock of the server that gave the cookie

    __table_args__ = (Index(None, "until"),)


class ScoreRequest(Base):
    """A text that a person wants scored: an edit, or a text whose words are to be marked. Claimed as a batch is."""

    __tablename__ = "score_requests"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)  # edit, words
    output_id: Mapped[int] = mapped_column(ForeignKey("outputs.id"))
    revision: Mapped[int] = mapped_column(Integer)
    classifier: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)  # waiting, scoring, done, failed, withdrawn
    worker: Mapped[str | None] = mapped_column(Text)
    lease_token: Mapped[str | None] = mapped_column(Text)
    lease_until: Mapped[float | None] = mapped_column(Double)
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")  # counted before each is made
    reason: Mapped[str | None] = mapped_column(AnyText)  # why it failed
    result: Mapped[dict[str, Any] | None] = mapped_column(Json)  # of marked words
    created_at: Mapped[float] = mapped_column(Double)

    __table_args__ = (
        UniqueConstraint("output_id", "revision", "kind", "classifier"),
        Index("ix_score_requests_open", "classifier", "id", sqlite_where=sql("status IN ('waiting', 'scoring')"),
              postgresql_where=sql("status IN ('waiting', 'scoring')")),
    )  # fmt: skip
