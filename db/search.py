"""Searching words in the texts that people look at, and where in a text the hits lie.

Both databases index the same words: texts are cut into words here, and their search is fed nothing else. Only flagged
and decided outputs are in the index, and each is entered by the transaction that flags or decides it: storing texts
costs what it cost, and no search finds half of what is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection, TextClause, text

from contract.errors import UsageError
from db.session.dialect import is_sqlite

SEARCHED_CHARACTERS = 50_000
"""Of a prompt, and of a text, that are searched: PostgreSQL ends a row's words at a megabyte."""
LONGEST_WORD = 100
"""Characters of a word that count; PostgreSQL leaves out words over 2 KB."""

SEPARATOR = "z" * (LONGEST_WORD + 1)
"""Stands between a prompt and its text, so that a phrase is found only inside one of them. No query has this word."""

CHUNK_EDITS = 1000
"""Texts of so many outputs are in memory at once."""

_WORD = re.compile(r"[^\W_]+")
_QUERY = re.compile(r'"([^"]*)"?|(\S+)')


def _folded(word: str) -> str:
    return word.lower()[:LONGEST_WORD]


def search_words(*parts: str) -> str:
    """What the index is given of a prompt and a text: their words, small, with spaces between."""
    return f" {SEPARATOR} ".join(" ".join(map(_folded, _WORD.findall(part[:SEARCHED_CHARACTERS]))) for part in parts)


@dataclass(frozen=True, slots=True)
class EditedText:
    """A text that a decision put in an output's place."""

    output_id: int
    decision_id: int
    words: str  # as `search_words` gives them


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that follow each other; `prefix`: the last one is only a word's beginning."""

    words: tuple[str, ...]
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for: all of these phrases."""

    phrases: tuple[Phrase, ...]

    @property
    def sqlite(self) -> str:
        """In FTS5's language."""
        return " AND ".join(f'"{" ".join(p.words)}"' + ("*" if p.prefix else "") for p in self.phrases)

    @property
    def postgresql(self) -> str:
        """In tsquery's language."""
        return " & ".join(
            "(" + " <-> ".join(f"'{word}'" for word in p.words) + (":*" if p.prefix else "") + ")" for p in self.phrases
        )

    def hits(self, found_in: str) -> tuple[tuple[int, int], ...]:
        """Where in a text the phrases lie: (start, end) of each hit's words, in order, none twice."""
        words = [(_folded(match[0]), match.start(), match.end()) for match in _WORD.finditer(found_in)]
        spans: set[tuple[int, int]] = set()
        for phrase in self.phrases:
            count = len(phrase.words)
            for first in range(len(words) - count + 1):
                here = words[first : first + count]
                if _fits(phrase, [word for word, _, _ in here]):
                    spans.update((start, end) for _, start, end in here)
        return tuple(sorted(spans))


def _fits(phrase: Phrase, words: Sequence[str]) -> bool:
    *before, last = words
    same = last.startswith(phrase.words[-1]) if phrase.prefix else last == phrase.words[-1]
    return same and tuple(before) == phrase.words[:-1]


def read_query(typed: str) -> Query:
    """A query as a person types it: words that must all be there, "phrases in quotes", beginnings of word*.

    Raises:
        UsageError: where there is no word in it.
    """
    phrases = []
    for quoted, bare in _QUERY.findall(typed):
        words = tuple(map(_folded, _WORD.findall(quoted or bare)))
        if words:
            phrases.append(Phrase(words, prefix=bare.endswith("*")))
    if not phrases:
        raise UsageError('query: contains no word; type words, a "phrase in quotes", or the beginning of a word*')
    return Query(tuple(phrases))


def matches_query(query: Query, *, sqlite: bool) -> TextClause:
    """A condition on `reviews`: the output is among those found, as generated or in an edit."""
    if sqlite:
        return text(
            "reviews.output_id IN (SELECT rowid FROM review_words WHERE review_words MATCH :words AND rowid > 0 "
            "UNION ALL SELECT output_id FROM decisions WHERE id IN "
            "(SELECT -rowid FROM review_words WHERE review_words MATCH :words AND rowid < 0))"
        ).bindparams(words=query.sqlite)
    # A semi-join: for a rare word PostgreSQL begins at the words, for a frequent one it walks the order's index.
    return text(
        "EXISTS (SELECT FROM review_words WHERE review_words.rowid = reviews.output_id "
        "AND words @@ to_tsquery('simple', :words))"
    ).bindparams(words=query.postgresql)


def index_texts(connection: Connection, texts: Iterable[tuple[int, str]]) -> None:
    """Puts outputs into the index that are not in it: (number, words as `search_words` gives them)."""
    rows = [{"number": number, "words": words} for number, words in texts]
    if not rows:
        return
    if is_sqlite(connection):
        statement = "INSERT INTO review_words (rowid, words) VALUES (:number, :words)"
    else:
        statement = (
            "INSERT INTO review_words (rowid, words) VALUES (:number, to_tsvector('simple', :words)) "
            "ON CONFLICT DO NOTHING"
        )
    connection.execute(text(statement), rows)


def index_edits(connection: Connection, edits: Sequence[EditedText]) -> None:
    """Lets outputs be found by the words of their newest edits too."""
    if is_sqlite(connection):  # its index keeps no texts, so a row cannot be changed: another is added
        index_texts(connection, [(-edit.decision_id, edit.words) for edit in edits])
        return
    for first in range(0, len(edits), CHUNK_EDITS):
        _add_words(connection, {edit.output_id: edit.words for edit in edits[first : first + CHUNK_EDITS]})


def _add_words(connection: Connection, edited: Mapping[int, str]) -> None:
    parts = text("SELECT o.id, p.prompt, o.text FROM outputs o JOIN prompts p ON p.id = o.prompt_id "
                 "WHERE o.id = ANY(:outputs)")  # fmt: skip
    rows = [
        {"output": row.id, "words": f"{search_words(row.prompt, row.text)} {SEPARATOR} {edited[row.id]}"}
        for row in connection.execute(parts, {"outputs": list(edited)})
    ]
    if rows:
        add = "UPDATE review_words SET words = to_tsvector('simple', :words) WHERE rowid = :output"
        connection.execute(text(add), rows)


def reason_as_json(reason: str) -> str:
    """A flag reason as it stands in the JSON list of `reviews.reasons`."""
    return orjson.dumps(reason).decode()
