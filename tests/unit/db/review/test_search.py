"""Searching words: what is found, where it is marked, and that both databases find the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import UsageError
from contract.review import Filter, StateFilter
from contract.spec import PromptRow
from db.jobs.reflag import reflag_job
from db.review.decisions.acts import decide, undo
from db.review.queue import count_matching, read_page
from db.search import read_query, search_words
from tests.unit.db.desk import Desk
from tests.unit.db.mill import text_of

TEXTS = [
    "The Captain’s dog barks. Über-dog!",
    "a captain of the sea, don't",
    "example.com and foo_bar@mail.org/path?x=3.14",
    "東京タワー и Привет мир",
    "<b>bold</b> & \"quoted\" AND (NEAR) 'x' : * ^ -minus",
    "dog " * 3 + "cat",
    "no flag: captain",
]


def found(desk: Desk, query: str, wanted: StateFilter = StateFilter.PENDING) -> list[int]:
    return sorted(row.output_id for row in read_page(desk.database, Filter(query=query, state=wanted)).rows)


@pytest.mark.parametrize(
    ("query", "which"),
    [
        ("captain", [0, 1]),
        ("CAPTAIN", [0, 1]),
        ("capt", []),
        ("capt*", [0, 1]),
        ("captain dog", [0]),
        ('"captain of the"', [1]),
        ('"of captain"', []),
        ("über", [0]),
        ("ÜBER-DOG", [0]),
        ("uber", []),
        ("example", [2]),
        ("example.com", [2]),
        ("foo_bar", [2]),
        ("3.14", [2]),
        ("привет", [3]),
        ("東京タワー", [3]),
        ("東京*", [3]),
        ("near", [4]),
        ("bold AND minus", [4]),
        ("don't", [1]),
        ('"dog dog cat"', [5]),
        ("'; DROP TABLE reviews; --", []),
        ('"unclosed dog', []),
        ("harbour", [0, 1, 2, 3, 4, 5]),
        ('"harbour the captain"', []),
        ("zzz", []),
    ],
)
def test_a_query_finds_the_flagged_outputs_with_all_its_words(desk: Desk, query: str, which: list[int]) -> None:
    outputs = desk.outputs_of([0.9] * 6 + [0.1], texts=TEXTS, prompts=["a harbour"] * 7)
    assert found(desk, query) == [outputs[i] for i in which]


def test_an_edit_is_found_by_its_own_words_and_by_the_old_ones(desk: Desk) -> None:
    (output,) = desk.outputs_of([0.9], texts=["rude words"])
    decide(desk.database, output, "anna", "edit", text="gentle sentences")
    assert found(desk, "gentle", StateFilter.ALL) == found(desk, "rude", StateFilter.ALL) == [output]
    (row,) = read_page(desk.database, Filter(query="gentle", state=StateFilter.WAITING)).rows
    assert row.hits == {"prompt": (), "text": ((0, 6),), "custom_id": ()}


IDS = ["order-7731", "550e8400-e29b-41d4-a716-446655440000", "Kunde_Ä/9", "12e4f.x"]
METADATA: list[dict[str, Any]] = [
    {"topic": "sea stories", "nested": {"deep": ["kelp", {"deeper": True}]}},
    {"number": 0.5, "big": 12345678901234567890, "nothing": None},
    {"AND": 'NEAR(x, 2) OR "quoted" * ^col:val -- \'; DROP TABLE jobs'},
    {"topic": "mountains", "sea": "none"},
]


FOUND_BY: dict[str, list[int]] = {
    "order-7731": [0],
    "7731": [0],
    "550e8400-e29b-41d4-a716-446655440000": [1],
    "550e8400": [1],
    "550e*": [1],
    "e29b-41d4": [1],
    "KUNDE_ä/9": [2],
    "12e4f": [3],
    "12e4*": [3],
    "12e4f.x": [3],
    "topic:sea": [0],
    "topic": [0, 3],
    "sea": [0, 3],
    '"sea stories"': [0],
    '"stories nested"': [],  # one value ends, another begins
    "kelp true": [0],
    "deeper:true": [0],
    "0.5": [1],
    "12345678901234567890": [1],
    "NEAR(x, 2) OR": [2],
    '"drop table"': [2],
    "col:val": [2],
    "calm": [0, 1, 2, 3],
    "lamp order": [0],
    "rowid": [],
    "words:calm": [],
    "NOT calm": [],
    "nowhere": [],
}


@pytest.mark.parametrize("scores", [[0.1] * 4, [0.9, 0.1, 0.9, 0.1]], ids=["unflagged", "mixed"])
def test_every_output_is_found_by_its_text_its_prompt_its_id_and_its_metadata(desk: Desk, scores: list[float]) -> None:
    outputs = desk.outputs_of(scores, texts=["calm"] * 4, prompts=["a lamp"] * 4, custom_ids=IDS, metadata=METADATA)
    for query, which in FOUND_BY.items():
        assert found(desk, query, StateFilter.ALL) == [outputs[i] for i in which], query
        assert found(desk, query) == [outputs[i] for i in which if scores[i] > 0.5], query
        assert found(desk, query, StateFilter.UNFLAGGED) == [outputs[i] for i in which if scores[i] < 0.5], query


def test_a_text_is_found_before_it_is_scored(desk: Desk) -> None:
    desk.submit([PromptRow(position=0, prompt="a quay", n=2, custom_id="q")])
    claim = desk.claim()
    desk.save(claim, [text_of(work, index, f"tide {index}") for work, index in desk.missing(claim)])
    assert len(found(desk, "quay tide", StateFilter.ALL)) == 2
    assert len(found(desk, '"tide 1"', StateFilter.ALL)) == 1


def test_pages_of_a_search_of_everything_hold_each_output_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db.review.view_of_everything.WINDOW", 3)
    outputs = desk.outputs_of([0.1] * 40, texts=[f"mist {'dew' if i % 3 else ''}" for i in range(40)])
    wanted = Filter(query="mist dew", state=StateFilter.ALL)
    seen, cursor = [], None
    while True:
        page = read_page(desk.database, wanted, cursor=cursor, limit=5)
        seen += [row.output_id for row in page.rows]
        if not (cursor := page.next):
            break
    assert seen == [output for i, output in enumerate(outputs) if i % 3]
    assert count_matching(desk.database, wanted).number == len(seen)


def test_an_edit_of_what_was_not_flagged_is_found_in_everything(desk: Desk) -> None:
    plain, edited = desk.outputs_of([0.1, 0.1], texts=["first words", "other words"])
    decide(desk.database, edited, "anna", "edit", text="gentle sentences")
    assert found(desk, "gentle", StateFilter.ALL) == found(desk, "other", StateFilter.ALL) == [edited]
    assert found(desk, "words", StateFilter.ALL) == [plain, edited]
    assert found(desk, "words", StateFilter.UNFLAGGED) == [plain]


def test_the_largest_words_of_all_parts_fit_into_the_index(desk: Desk) -> None:
    letters = [" ".join(chr(0x20000 + 25_000 * part + i) for i in range(25_000)) for part in range(2)]
    metadata = {str(i): chr(0x10400 + i % 40) * 3 for i in range(20_000)}
    (output,) = desk.outputs_of([0.9], texts=[letters[0]], prompts=[letters[1]], custom_ids=["x"], metadata=[metadata])
    decide(desk.database, output, "anna", "edit", text=letters[1][::-1])
    for query in (letters[0][:3], letters[1][-1], "7", f"{chr(0x10400)}*"):
        assert found(desk, query, StateFilter.ALL) == [output], query


@pytest.mark.parametrize("letter", ["\U0001e900", "\U00030000", "ꟊ", "²", "٣", "ǅ"])
def test_letters_that_are_younger_than_a_database_are_found(desk: Desk, letter: str) -> None:
    outputs = desk.outputs_of([0.1, 0.9], texts=[f"to {letter}{letter} be", "to be"])
    assert found(desk, f"{letter}{letter}", StateFilter.ALL) == [outputs[0]]
    assert found(desk, f'"to {letter}{letter} be"', StateFilter.ALL) == [outputs[0]]


def test_what_enters_the_queue_twice_is_indexed_once(desk: Desk) -> None:
    (output,) = desk.outputs_of([0.9], texts=["once upon"])
    job = desk.look(output).job_id
    for limit in (0.95, 0.5, 0.95, 0.5):
        reflag_job(desk.database, job, thresholds={"toxicity": limit}, blocklist=None)
    decide(desk.database, output, "anna", "approve")
    undo(desk.database, "anna")
    assert found(desk, "once") == [output]
    with desk.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM review_words").scalar() == 1


def test_texts_as_long_as_they_may_be_are_indexed(desk: Desk) -> None:
    many = " ".join(f"wörd{i}ßßß東" for i in range(9000))
    outputs = desk.outputs_of([0.9, 0.9, 0.9], texts=["x" * 100_000, many, "\U0001f600" * 60_000 + " end"])
    assert found(desk, "wörd77*") == [outputs[1]]
    assert found(desk, "end") == []  # behind what is searched
    decide(desk.database, outputs[1], "anna", "edit", text="".join(f"ß{i}東 " for i in range(20_000)))
    assert found(desk, "ß77東", StateFilter.ALL) == found(desk, "wörd77*", StateFilter.ALL) == [outputs[1]]


def test_hits_are_places_of_words_and_never_markup() -> None:
    text = "The <b>dog</b> and the DOGS, the dog."
    marks = read_query('dog "and the"').hits(text)
    assert [text[start:end] for start, end in marks] == ["dog", "and", "the", "dog"]
    assert [text[a:b] for a, b in read_query("dog*").hits(text)] == ["dog", "DOGS", "dog"]
    assert read_query("cat").hits(text) == ()


@pytest.mark.parametrize("query", ["", "  ", "***", '""', "!?", '"'])
def test_a_query_without_a_word_is_refused(query: str) -> None:
    with pytest.raises(UsageError, match="contains no word"):
        read_query(query)


@given(st.text(max_size=60))
def test_any_query_is_read_or_refused_and_marks_within_the_text(said: str) -> None:
    try:
        query = read_query(said)
    except UsageError:
        return
    last = 0
    for start, end in query.hits(said):
        assert last <= start < end <= len(said)
        last = end
    assert "'" not in query.sqlite and search_words(said)


@given(st.text(max_size=40).filter(lambda text: any(c.isalnum() for c in text)), st.sampled_from(["", "*"]))
def test_a_text_is_marked_where_its_own_words_are_searched(text: str, star: str) -> None:
    query = read_query(f'"{text.replace(chr(34), " ")}"')
    assert query.hits(text), (text, star)
