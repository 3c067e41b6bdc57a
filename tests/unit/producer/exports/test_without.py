"""`--without`: worthless texts are counted, and left out of an export that does not want them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from contract.errors import UsageError
from contract.text_flaws import TextFlaw
from db.insights import sample
from db.insights.flaws import FlawCounts, count_flaws
from producer.export import export_job, parse_without

TEXTS = [" \u200b\n", " A good text.", " again and again and" * 4, " It was", ""]
"""By position. Samples 0 end at a length, as the mill makes them."""


def texts_of(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_bytes().splitlines()]


@pytest.fixture
def job(any_mill: Any) -> int:
    from contract.spec import SamplingSettings

    found: int = any_mill.submit(["a"] * len(TEXTS), settings=SamplingSettings(n=2))
    any_mill.generate(lambda work, place: TEXTS[work.position])
    any_mill.score()
    return found


@pytest.mark.parametrize(
    ("without", "kept"),
    [("", [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]), ("empty", [1, 1, 2, 2, 3, 3]), ("cut", [0, 1, 2, 3, 4]),
     ("repeating", [0, 0, 1, 1, 3, 3, 4, 4]), ("empty, cut,repeating,cut", [1, 3])],
)  # fmt: skip
def test_texts_with_a_flaw_that_is_named_are_left_out(
    any_mill: Any, job: int, out: Path, without: str, kept: list[int]
) -> None:
    report = export_job(any_mill.database, job, out / "o.jsonl", without=parse_without(without))
    assert texts_of(out / "o.jsonl") == [TEXTS[place] for place in kept]
    assert report.rows == len(kept)


def test_every_format_leaves_them_out_together_with_other_selections(any_mill: Any, job: int, out: Path) -> None:
    for format in ("csv", "parquet", "openai"):
        flaws = parse_without("empty,repeating")
        report = export_job(any_mill.database, job, out / f"o.{format}", format=format, only=["clean"], without=flaws)
        assert report.rows == 4


def test_an_edit_is_judged_in_the_place_of_the_text_that_was_generated(any_mill: Any, job: int, out: Path) -> None:
    any_mill.edit(1, " A person wrote this.")
    export_job(any_mill.database, job, out / "o.jsonl", without=tuple(TextFlaw))
    assert texts_of(out / "o.jsonl")[0] == " A person wrote this."
    assert count_flaws(any_mill.database, job).counts == {"empty": 3, "cut": 4, "repeating": 2}


def test_flaws_are_counted(any_mill: Any, job: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = count_flaws(any_mill.database, job)
    assert found == FlawCounts(counts={TextFlaw.EMPTY: 4, TextFlaw.CUT: 5, TextFlaw.REPEATING: 2}, exact=True)
    assert str(found) == "4 empty, 5 cut, 2 repeating"
    monkeypatch.setattr(sample, "COMPLETE_UP_TO", 9)
    estimated = count_flaws(any_mill.database, job)
    assert not estimated.exact and estimated.counts == found.counts
    assert str(estimated) == "about 4 empty, 5 cut, 2 repeating"


def test_a_job_without_texts_has_no_flaws(any_mill: Any) -> None:
    found = count_flaws(any_mill.database, any_mill.submit(["a"]))
    assert str(found) == "" and set(found.counts.values()) == {0}


def test_an_export_of_which_nothing_is_left_is_refused_and_says_why(any_mill: Any, out: Path) -> None:
    job = any_mill.submit(["a"])
    any_mill.generate(lambda work, place: "")
    any_mill.score()
    with pytest.raises(UsageError, match="none of them is all without empty, cut; use --only all or less of --without"):
        export_job(any_mill.database, job, out / "o.jsonl", without=parse_without("empty,cut"))


@pytest.mark.parametrize(
    ("without", "said"), [("emty", "did you mean empty"), ("xyz", "use some of empty, cut, repeating")]
)
def test_an_unknown_flaw_is_refused_with_the_ones_that_there_are(without: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"--without {without}: .*{said}"):
        parse_without(without)
