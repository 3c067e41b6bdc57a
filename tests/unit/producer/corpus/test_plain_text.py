"""Where documents of plain text begin and end, whatever the blocks are in which a file is read."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

import producer.corpus.documents.plain_text as plain_text
import producer.read.lines
from contract.errors import BadLine, UsageError
from producer.corpus.documents.pieces import Piece
from producer.corpus.documents.plain_text import text_documents
from tests.examples import examples

SEPARATOR = "<|endoftext|>"
Document = tuple[int, str]


def joined(pieces: list[Piece]) -> list[Document]:
    """Each document's line and text."""
    found: list[Document] = []
    texts: list[str] = []
    for piece in pieces:
        if piece.ends:
            found.append((piece.line, "".join(texts)))
            texts = []
        else:
            texts.append(piece.text)
    assert not texts
    return found


def documents(data: bytes | str, *, paragraphs: bool = False) -> tuple[list[Document], list[BadLine]]:
    bad: list[BadLine] = []
    stream = io.BytesIO(data.encode() if isinstance(data, str) else data)
    return joined(list(text_documents(stream, "a.txt", bad.append, paragraphs=paragraphs))), bad


def expected(text: str, *, paragraphs: bool) -> list[str]:
    """The same, said in another way."""
    found: list[str] = []
    parts = text.split(SEPARATOR)
    for place, part in enumerate(parts):
        inside = re.split(r"(?m)^[^\S\n]*\n", part) if paragraphs else [part]
        texts = [stripped for one in inside if (stripped := one.strip("\n"))]
        found += texts or ([""] if 0 < place < len(parts) - 1 else [])
    return found


def test_a_file_is_one_document_without_the_line_ends_around_it() -> None:
    assert documents("\n\n One.\n\nTwo.\n\n")[0] == [(3, " One.\n\nTwo.")]


def test_documents_end_at_end_of_text_and_know_their_lines() -> None:
    found, _ = documents(f"One.\nTwo.\n{SEPARATOR}\nThree.{SEPARATOR}Four.\n")
    assert found == [(1, "One.\nTwo."), (4, "Three."), (4, "Four.")]


def test_nothing_between_two_separators_is_an_empty_document() -> None:
    assert documents(f"a{SEPARATOR}\n{SEPARATOR}b{SEPARATOR}\n")[0] == [(1, "a"), (1, ""), (2, "b")]


def test_blank_lines_end_documents_where_that_is_wanted() -> None:
    found, _ = documents("One\nand more\n \t\n\n\nTwo\n\n", paragraphs=True)
    assert found == [(1, "One\nand more"), (6, "Two")]


def test_line_ends_of_every_kind_are_line_feeds() -> None:
    assert documents("a\r\nb\r\n\r\nc\r", paragraphs=True)[0] == [(1, "a\nb"), (4, "c")]
    assert documents("a\rb\r\rc", paragraphs=True)[0] == [(1, "a\nb"), (4, "c")]


def test_lines_that_are_no_text_are_named_and_left_out() -> None:
    found, bad = documents(b"\xef\xbb\xbfgood\nbad \xff\nalso\0bad\n\xef\xbb\xbfgood again\n")
    assert found == [(1, "good\ngood again")]
    assert [line.number for line in bad] == [2, 3]
    assert "is not UTF-8 (byte 0xFF at column 5)" in str(bad[0]) and "NUL" in str(bad[1])


def test_other_encodings_are_refused_with_a_way_out() -> None:
    with pytest.raises(UsageError, match="is UTF-16, not UTF-8; save it as UTF-8"):
        documents("text".encode("utf-16"))


@pytest.mark.parametrize("line", ["x" * 50, "wörter ünd " * 9, "é" * 40, "ab<|end" * 9 + SEPARATOR + "x" * 30])
def test_a_line_longer_than_a_block_stays_whole(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setattr(producer.read.lines, "BLOCK_BYTES", 7)
    monkeypatch.setattr(plain_text, "LONGEST_LINE", 40)
    text = f"{line}\n{line}"
    assert [found for _, found in documents(text)[0]] == expected(text, paragraphs=False)


@given(
    st.lists(st.sampled_from(["a", "é", " ", "\n", "\n\n", "\t\n", "word", SEPARATOR, "<|end", "𝄞"]), max_size=30),
    st.integers(1, 20),
    st.booleans(),
)
@examples(300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_documents_do_not_depend_on_blocks(parts: list[str], block: int, paragraphs: bool) -> None:
    text = "".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(producer.read.lines, "BLOCK_BYTES", block)
        found, bad = documents(text, paragraphs=paragraphs)
    assert [text for _, text in found] == expected(text, paragraphs=paragraphs)
    assert not bad
    lines = text.split("\n")
    assert all(lines[number - 1].find(found_text.split("\n")[0]) >= 0 for number, found_text in found)
