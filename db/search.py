"""What words a search sees of an output, what a query asks for, and where in a text its hits lie.

Both databases index the same words: texts are cut into words here, and their search is fed nothing else. How they
come into the index is the business of `search_index`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import TextClause, text

from contract.errors import UsageError

SEARCHED_CHARACTERS = 50_000
"""Of a prompt, of a text and of metadata that are searched: PostgreSQL ends a row's words at a megabyte."""
LONGEST_WORD = 100
"""Characters of a word that count; PostgreSQL leaves out words over 2 KB."""

SEPARATOR = "z" * (LONGEST_WORD + 1)
"""Stands between a prompt and its text, so that a phrase is found only inside one of them. No query has this word."""

_WORD = re.compile(r"[^\W_]+")
_QUERY = re.compile(r'"([^"]*)"?|(\S+)')


def _folded(word: str) -> str:
    return word.lower()[:LONGEST_WORD]


def search_words(*parts: str) -> str:
    """What the index is given of a prompt and a text: their words, small, with spaces between."""
    return f" {SEPARATOR} ".join(" ".join(map(_folded, _WORD.findall(part[:SEARCHED_CHARACTERS]))) for part in parts)


def output_words(custom_id: str | None, prompt: str, text: str, metadata: Mapping[str, Any] | None) -> str:
    """What the index is given of an output: all that a search finds it by."""
    # The metadata come last: PostgreSQL knows the places of the first 16,383 words, which phrases are found by.
    return search_words(custom_id or "", prompt, text, *metadata_parts(metadata or {}))


def metadata_parts(metadata: Any) -> Iterator[str]:
    """Each value of metadata behind its names, as `topic:sea` asks for it; so many as are searched."""
    left = SEARCHED_CHARACTERS
    for part in _named_values(metadata, ()):
        if left <= 0:
            return
        yield part[:left]
        left -= len(part) + 1


def _named_values(value: Any, names: tuple[str, ...]) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _named_values(inner, (*names, str(name)))
    elif isinstance(value, list):
        for inner in value:
            yield from _named_values(inner, names)
    else:
        yield " ".join((*names, plain_value(value)))


def plain_value(value: Any) -> str:
    """A value of metadata as it is searched and shown: true, 0.5, and text as it is."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


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
        "AND words @@ CAST(:words AS tsquery))"
    ).bindparams(words=query.postgresql)


def matches_any_output(query: Query, stretch: tuple[int, int], *, sqlite: bool) -> TextClause:
    """A condition on the `outputs` of a stretch of numbers: as `matches_query`, whoever looks at them or not."""
    statement = _ANY_OUTPUT_SQLITE if sqlite else _ANY_OUTPUT_POSTGRESQL
    words = query.sqlite if sqlite else query.postgresql
    return text(statement).bindparams(words=words, first=stretch[0], last=stretch[1])


_ANY_OUTPUT_SQLITE = (
    "outputs.id IN (SELECT rowid FROM output_words WHERE output_words MATCH :words AND rowid BETWEEN :first AND :last "
    "UNION ALL SELECT output_id FROM decisions WHERE id IN "
    "(SELECT -rowid FROM review_words WHERE review_words MATCH :words AND rowid < 0))"
)
# What was edited has its edit's words in `review_words` alone.
_ANY_OUTPUT_POSTGRESQL = (
    "outputs.id IN (SELECT rowid FROM output_words "
    "WHERE rowid BETWEEN :first AND :last AND words @@ CAST(:words AS tsquery) "
    "UNION ALL SELECT rowid FROM review_words "
    "WHERE rowid BETWEEN :first AND :last AND words @@ CAST(:words AS tsquery))"
)


def reason_as_json(reason: str) -> str:
    """A flag reason as it stands in the JSON list of `reviews.reasons`."""
    return orjson.dumps(reason).decode()
