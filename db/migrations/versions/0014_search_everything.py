"""Every output is searched, by its custom_id and metadata too: an index of all, and the queue's made anew."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

CHUNK_TEXTS = 1000


def upgrade() -> None:
    # Words come cut and folded from `db.search`: SQLite's plainest tokenizer takes them as they are.
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE review_words")
        for table in ("review_words", "output_words"):
            op.execute(f"CREATE VIRTUAL TABLE {table} USING fts5(words, content='', tokenize='ascii')")
    else:
        op.execute("TRUNCATE review_words")
        op.execute("CREATE TABLE output_words (rowid BIGINT CONSTRAINT pk_output_words PRIMARY KEY, words tsvector NOT NULL)")
    _fill_outputs()
    _fill_edits()
    if op.get_bind().dialect.name == "postgresql":  # several times as fast as a row at a time
        op.execute("CREATE INDEX ix_output_words_words ON output_words USING gin (words)")
    # What was decided in the last day is counted every two seconds.
    decided = sa.text("decided_by IS NOT NULL")
    op.drop_index("ix_reviews_decided_by", "reviews")
    op.create_index("ix_reviews_decided_by", "reviews", ["decided_by", "decision_id"], sqlite_where=decided, postgresql_where=decided)


def _fill_outputs() -> None:
    from db.models import Output
    from db.search_index import index_words, words_of_outputs

    connection = op.get_bind()
    outputs, reviews = sa.table("outputs", sa.column("id")), sa.table("reviews", sa.column("output_id"))
    last = 0
    while ids := list(connection.scalars(sa.select(outputs.c.id).where(outputs.c.id > last).order_by("id").limit(CHUNK_TEXTS))):
        last = ids[-1]
        listed = set(connection.scalars(sa.select(reviews.c.output_id).where(reviews.c.output_id.in_(ids))))
        words = words_of_outputs(connection, Output.id.in_(ids))
        index_words(connection, "output_words", words.items())
        index_words(connection, "review_words", [(number, some) for number, some in words.items() if number in listed])


def _fill_edits() -> None:
    from db.search import search_words
    from db.search_index import CHUNK_EDITS, EditedText, index_edits

    connection = op.get_bind()
    some = sa.text("SELECT id, output_id, text FROM decisions WHERE text IS NOT NULL AND id > :after ORDER BY id LIMIT :some")
    last = 0
    while rows := connection.execute(some, {"after": last, "some": CHUNK_EDITS}).all():
        last = rows[-1].id
        index_edits(connection, [EditedText(row.output_id, row.id, search_words(row.text)) for row in rows])
