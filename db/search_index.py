"""The index of words: which outputs are in it, and how they and their edits come into it.

There are two tables of one form. `output_words` holds every output from the transaction on that stores its text;
`review_words` those that people look at, so that a search of the queue passes over no million of others. Works inside
the caller's transaction, so no search finds half of what is there; what a word is, `search` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, select, text

from db.models import Output, Prompt
from db.search import SEPARATOR, output_words
from db.session.dialect import is_sqlite

Table = Literal["output_words", "review_words"]

CHUNK_EDITS = 1000
"""Texts of so many outputs are in memory at once."""


@dataclass(frozen=True, slots=True)
class EditedText:
    """A text that a decision put in an output's place."""

    output_id: int
    decision_id: int
    words: str  # as `search_words` gives them


def index_words(connection: Connection, table: Table, rows: Iterable[tuple[int, str]]) -> None:
    """Puts outputs into a table of the index that are not in it: (number, words as `output_words` gives them)."""
    sqlite = is_sqlite(connection)
    entries = [{"number": number, "words": words if sqlite else as_tsvector(words)} for number, words in rows]
    if not entries:
        return
    into = f"INSERT INTO {table} (rowid, words) VALUES "  # noqa: S608 - one of our own two names
    statement = ":number, :words" if sqlite else ":number, CAST(:words AS tsvector)"
    connection.execute(text(f"{into}({statement}){'' if sqlite else ' ON CONFLICT DO NOTHING'}"), entries)


def as_tsvector(words: str) -> str:
    """Words with their places, as PostgreSQL reads a tsvector: its own parser would cut some of them once more."""
    places: dict[str, list[str]] = {}
    for place, word in enumerate(words.split(), 1):
        places.setdefault(word, []).append(str(place))
    return " ".join(f"'{word}':{','.join(at)}" for word, at in places.items())


def words_of_outputs(connection: Connection, condition: Any) -> dict[int, str]:
    """The words of the outputs that a condition finds, by their numbers."""
    query = (
        select(Output.id, Output.text, Prompt.custom_id, Prompt.prompt, Prompt.extra.label("extra"))
        .join(Prompt, Prompt.id == Output.prompt_id)
        .where(condition)
        .order_by(Output.id)
    )
    return {row.id: output_words(row.custom_id, row.prompt, row.text, row.extra) for row in connection.execute(query)}


def index_edits(connection: Connection, edits: Sequence[EditedText]) -> None:
    """Lets outputs be found by the words of their newest edits too."""
    if is_sqlite(connection):  # its index keeps no texts, so a row cannot be changed: another is added
        index_words(connection, "review_words", [(-edit.decision_id, edit.words) for edit in edits])
        return
    for first in range(0, len(edits), CHUNK_EDITS):
        _add_words(connection, {edit.output_id: edit.words for edit in edits[first : first + CHUNK_EDITS]})


def _add_words(connection: Connection, edited: Mapping[int, str]) -> None:
    generated = words_of_outputs(connection, Output.id.in_(edited))
    rows = [
        {"output": output, "words": as_tsvector(f"{words} {SEPARATOR} {edited[output]}")}
        for output, words in generated.items()
    ]
    if rows:
        add = "UPDATE review_words SET words = CAST(:words AS tsvector) WHERE rowid = :output"
        connection.execute(text(add), rows)
