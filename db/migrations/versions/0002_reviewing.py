"""Reviewing: the queue, decisions, claims of reviewers, score requests, and the index of words."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OPEN = sa.text("status IN ('waiting', 'scoring')")
LABELS = ("toxicity", "severe_toxicity", "obscene", "threat", "insult", "identity_attack", "sexual_explicit")
CHUNK_TEXTS = 5000


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    _create_reviews()
    _create_decisions()
    _create_requests()
    # Words of texts and prompts, tokenised by `db.search`: neither database keeps the texts a second time.
    # A row's number is an output's id; in SQLite's also minus the id of the decision that edited it.
    if sqlite:
        op.execute("CREATE VIRTUAL TABLE review_words USING fts5(words, content='', tokenize=\"unicode61 remove_diacritics 0\")")
    else:
        op.execute("CREATE TABLE review_words (rowid BIGINT CONSTRAINT pk_review_words PRIMARY KEY, words tsvector NOT NULL)")
        op.execute("CREATE INDEX ix_review_words_words ON review_words USING gin (words)")
    _fill(sqlite)
    op.drop_index("ix_outputs_review", "outputs")
    op.drop_index("ix_outputs_review_job", "outputs")


def _create_reviews() -> None:
    op.create_table(
        "reviews",
        sa.Column("output_id", Id, autoincrement=False, nullable=False),
        sa.Column("job_id", Id, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("flagged", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("top_score", sa.Double(), nullable=False),
        sa.Column("lot", sa.Integer(), nullable=False),
        sa.Column("reasons", sa.Text(), nullable=True),
        *(sa.Column(label, sa.Double(), nullable=True) for label in LABELS),
        sa.Column("revision", sa.Integer(), server_default="0", nullable=False),
        sa.Column("decision_id", Id, nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("version", Id, server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["output_id"], ["outputs.id"], name="fk_reviews_output_id"),
        sa.PrimaryKeyConstraint("output_id", name="pk_reviews"),
    )
    op.create_index("ix_reviews_score", "reviews", ["state", "top_score", "output_id"])
    op.create_index("ix_reviews_job_score", "reviews", ["job_id", "state", "top_score", "output_id"])
    op.create_index("ix_reviews_lot", "reviews", ["state", "lot", "output_id"])
    op.create_index("ix_reviews_job_lot", "reviews", ["job_id", "state", "lot", "output_id"])
    op.create_index("ix_reviews_oldest", "reviews", ["state", "output_id"])
    op.create_index("ix_reviews_job_oldest", "reviews", ["job_id", "state", "output_id"])
    decided = sa.text("decided_by IS NOT NULL")
    op.create_index("ix_reviews_decided_by", "reviews", ["decided_by"], sqlite_where=decided, postgresql_where=decided)


def _create_decisions() -> None:
    op.create_table(
        "decisions",
        sa.Column("id", Id, nullable=False),
        sa.Column("output_id", Id, nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("from_state", sa.Text(), nullable=False),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("from_revision", sa.Integer(), server_default="0", nullable=False),
        sa.Column("revision", sa.Integer(), server_default="0", nullable=False),
        sa.Column("from_decision", Id, nullable=True),
        sa.Column("undoes", Id, nullable=True),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("flagged", sa.Boolean(), nullable=False),
        sa.Column("drawn", sa.Double(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["output_id"], ["outputs.id"], name="fk_decisions_output_id"),
        sa.PrimaryKeyConstraint("id", name="pk_decisions"),
        sa.UniqueConstraint("key", name="uq_decisions_key"),
    )
    op.create_index("ix_decisions_output_id", "decisions", ["output_id"])
    op.create_index("ix_decisions_reviewer_id", "decisions", ["reviewer", "id"])
    op.create_index("ix_decisions_day", "decisions", ["created_at", "reviewer", "action"])
    op.create_table(
        "review_claims",
        sa.Column("output_id", Id, autoincrement=False, nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.Column("drawn", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["output_id"], ["outputs.id"], name="fk_review_claims_output_id"),
        sa.PrimaryKeyConstraint("output_id", name="pk_review_claims"),
    )


def _create_requests() -> None:
    op.create_table(
        "score_requests",
        sa.Column("id", Id, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("output_id", Id, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("classifier", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("lease_token", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["output_id"], ["outputs.id"], name="fk_score_requests_output_id"),
        sa.PrimaryKeyConstraint("id", name="pk_score_requests"),
        sa.UniqueConstraint(
            "output_id", "revision", "kind", "classifier", name="uq_score_requests_output_id_revision_kind_classifier"
        ),
    )
    op.create_index(
        "ix_score_requests_open", "score_requests", ["classifier", "id"], sqlite_where=OPEN, postgresql_where=OPEN
    )


def _fill(sqlite: bool) -> None:
    """The outputs that are flagged already come into the queue, and their words into the index."""
    from db.search import search_words

    connection = op.get_bind()
    lot = "abs(random() % 2147483648)" if sqlite else "CAST(floor(random() * 2147483648) AS INTEGER)"
    labels = ", ".join(LABELS)
    connection.execute(
        sa.text(
            "INSERT INTO reviews (output_id, job_id, state, flagged, top_score, lot, reasons, " + labels + ") "
            "SELECT o.id, o.job_id, 'pending', o.flagged, coalesce(o.top_score, -1.0), " + lot + ", "
            "CAST(o.flag_reasons AS TEXT), " + ", ".join(f"s.{label}" for label in LABELS) + " "
            "FROM outputs o JOIN jobs j ON j.id = o.job_id "
            "LEFT JOIN scores s ON s.output_id = o.id AND s.revision = 0 AND s.classifier = j.safety "
            "WHERE o.flagged"
        )
    )
    some = sa.text(
        "SELECT o.id, p.prompt, o.text FROM outputs o JOIN prompts p ON p.id = o.prompt_id "
        "WHERE o.flagged AND o.id > :after ORDER BY o.id LIMIT :some"
    )
    words = "(:number, :words)" if sqlite else "(:number, to_tsvector('simple', :words))"
    last = 0
    while rows := connection.execute(some, {"after": last, "some": CHUNK_TEXTS}).all():
        last = rows[-1].id
        connection.execute(
            sa.text("INSERT INTO review_words (rowid, words) VALUES " + words),
            [{"number": row.id, "words": search_words(row.prompt, row.text)} for row in rows],
        )
