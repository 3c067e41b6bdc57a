"""What becomes of documents, in rows that do not fit into memory at once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import producer.corpus.fates as fates
import producer.corpus.survey as surveys
from producer.corpus.documents.pieces import Outline
from producer.corpus.fates import Fate, divide
from producer.corpus.survey import Survey


@pytest.fixture(params=[60, 1 << 16])
def at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveys, "ROWS_AT_ONCE", request.param)
    monkeypatch.setattr(fates, "KEYS_AT_ONCE", request.param)


def survey_of(folder: Path, documents: list[tuple[int, int]]) -> Survey:
    """A survey of documents, each a number that its text stands for, and its length."""
    survey = Survey(folder)
    for number, characters in documents:
        key = random.Random(number).randbytes(16)
        survey.add(Outline(line=1, key=key, characters=characters, plain=True, empty=not characters), file=0)
    return survey


@pytest.mark.usefixtures("at_once")
def test_duplicates_are_found_wherever_they_stand(tmp_path: Path) -> None:
    drawn = random.Random(3)
    numbers = [drawn.randrange(60) for _ in range(200)]
    division = divide(survey_of(tmp_path, [(number, 10) for number in numbers]), 0.0, 0)
    seen: set[int] = set()
    for number, decision in zip(numbers, division.decisions(), strict=True):
        assert decision.fate == (Fate.DUPLICATE if number in seen else Fate.TRAIN)
        seen.add(number)
    assert division.counts[Fate.TRAIN] == len(seen) and division.characters == 10 * len(seen)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("share", [0.05, 0.3, 0.5])
def test_the_share_is_held_back_and_never_most_of_it(tmp_path: Path, share: float) -> None:
    division = divide(survey_of(tmp_path, [(number, 10) for number in range(2000)]), share, 0)
    assert abs(division.counts[Fate.VALIDATION] / 2000 - share) < 0.03
    for count in range(2, 30):
        few = divide(survey_of(tmp_path, [(number, 10) for number in range(count)]), share, 0)
        assert 1 <= few.counts[Fate.VALIDATION] <= count / 2 and not few.counts[Fate.CUT]


@pytest.mark.usefixtures("at_once")
def test_long_documents_are_cut_and_empty_ones_left_out(tmp_path: Path) -> None:
    books = [(number, 100_000) for number in range(3)]
    division = divide(survey_of(tmp_path, [*books, (9, 0), *((number, 50) for number in range(10, 20))]), 0.05, 0)
    found = [decision.fate for decision in division.decisions()]
    assert found[:4] == [Fate.CUT, Fate.CUT, Fate.CUT, Fate.EMPTY]
    assert set(found[4:]) <= {Fate.TRAIN, Fate.VALIDATION}


@pytest.mark.usefixtures("at_once")
def test_two_documents_of_which_one_is_most_hold_back_the_other(tmp_path: Path) -> None:
    division = divide(survey_of(tmp_path, [(1, 60_000), (2, 500)]), 0.5, 0)
    assert [decision.fate for decision in division.decisions()] == [Fate.TRAIN, Fate.VALIDATION]
