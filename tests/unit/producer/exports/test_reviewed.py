"""What people decided, in exports: who, when and why, edited texts, and what counts as approved or clean."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from contract.errors import UsageError
from contract.policy import ScoreBy
from contract.spec import PromptRow
from db.review.decisions.acts import undo
from db.work.claims import claim_scoring
from db.work.outputs import ScoredText, save_scores
from producer.export import export_job
from producer.write.csv import guard_formula
from tests.unit.producer.exports.conftest import ABLE, LEASE


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def texts(mill: Any, job: int, out: Path, *only: str) -> list[str]:
    report = export_job(mill.database, job, out / "some.jsonl", only=only, allow_empty=True)
    found = lines(out / "some.jsonl")
    assert report.rows == len(found)
    return [line["text"] for line in found]


def test_a_decision_is_exported_with_who_when_and_why(mill: Any, mixed: int, out: Path) -> None:
    mill.decide("approve", 2)
    mill.decide("reject", 4)
    export_job(mill.database, mixed, out / "o.jsonl")
    reviews = [line["review"] for line in lines(out / "o.jsonl")]
    assert [bool(review) for review in reviews] == [False, True, False, True, False]
    at = reviews[1].pop("at")
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", at)
    assert reviews[1] == {"decision": "approve", "by": "anna", "reason": "seemed approve", "original_text": None}
    assert reviews[3]["decision"] == "reject"


def test_an_edited_text_counts_only_once_it_is_scored(mill: Any, mixed: int, out: Path) -> None:
    mill.edit(2, " better", toxicity=None)
    export_job(mill.database, mixed, out / "o.jsonl")
    line = lines(out / "o.jsonl")[1]
    assert (line["text"], line["scores"], line["review"]["decision"]) == (" better", None, "edit")
    assert line["review"]["original_text"] == " bad 0"
    for only in ("approved", "clean"):
        assert " better" not in texts(mill, mixed, out, only)
    with pytest.raises(UsageError, match=r"none of them is approved.*--allow-empty"):
        export_job(mill.database, mixed, out / "o.jsonl", only=["approved"])


def test_an_edited_and_scored_text_is_approved_and_clean(mill: Any, mixed: int, out: Path) -> None:
    mill.edit(2, " better")
    export_job(mill.database, mixed, out / "o.jsonl", only=["approved"])
    (line,) = lines(out / "o.jsonl")
    assert (line["text"], line["scores"], line["flagged"]) == (" better", {"toxicity": 0.2, "insult": 0.1}, False)
    assert line["review"]["original_text"] == " bad 0"
    assert " better" in texts(mill, mixed, out, "clean")
    mill.edit(4, " still bad", toxicity=0.9)
    assert texts(mill, mixed, out, "approved") == [" better", " still bad"]
    assert " still bad" not in texts(mill, mixed, out, "clean")


def test_an_edit_that_was_undone_leaves_no_trace_in_an_export(mill: Any, mixed: int, out: Path) -> None:
    export_job(mill.database, mixed, out / "before.jsonl")
    mill.edit(2, " better")
    undo(mill.database, "anna")
    export_job(mill.database, mixed, out / "after.jsonl")
    assert (out / "before.jsonl").read_bytes() == (out / "after.jsonl").read_bytes()


def test_an_edited_text_is_exported_without_log_probabilities(mill: Any, out: Path) -> None:
    from contract.spec import SamplingSettings

    job = mill.submit(["a"], settings=SamplingSettings(logprobs=1))
    mill.generate(lambda work, sample: "bad", logprobs=lambda text: [{"token": "bad", "logprob": -1.0, "top": {}}])
    mill.score()
    mill.edit(1, "good")
    for format in ("jsonl", "openai"):
        export_job(mill.database, job, out / "o.jsonl", format=format)
        assert b'"bad"' not in (out / "o.jsonl").read_bytes().replace(b'"original_text":"bad"', b"")


def test_a_redacted_export_withholds_the_text_before_an_edit(mill: Any, mixed: int, out: Path) -> None:
    mill.edit(2, " better")
    mill.edit(4, " waits", toxicity=None)
    for format in ("jsonl", "csv", "openai", "parquet"):
        export_job(mill.database, mixed, out / f"o.{format}", format=format, on_flag="redact")
    assert [line["text"] for line in lines(out / "o.jsonl")] == [" good 0", " better", " good 1", None, " good 3"]
    for format in ("jsonl", "csv", "openai"):
        said = (out / f"o.{format}").read_bytes()
        assert b" better" in said and b" bad 0" not in said and b" bad 1" not in said and b" waits" not in said
    table = str(pq.read_table(out / "o.parquet").to_pylist())
    assert " better" in table and " bad 0" not in table and " waits" not in table


def test_no_spreadsheet_runs_a_reviewers_text(mill: Any, mixed: int, out: Path) -> None:
    from db.review.decisions.acts import decide

    for output, attack in ((2, "=HYPERLINK(1)"), (4, "@SUM(1)")):
        decide(mill.database, output, "=cmd|' /C calc'!A0", "reject", reason=attack)
    mill.edit(1, "=1+1", toxicity=0.1)
    export_job(mill.database, mixed, out / "o.csv", for_spreadsheets=True)
    with (out / "o.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["text"] == "'=1+1"
    assert json.loads(rows[1]["review"])["reason"] == "=HYPERLINK(1)"
    written = ("prompt", "text", "review", "flag_reasons", "metadata", "settings", "custom_id")  # by people or models
    for row in rows:
        assert all(guard_formula(row[name]) == row[name] or row[name].startswith("'") for name in written)


def test_tables_hold_the_decision_as_json_text(mill: Any, mixed: int, out: Path) -> None:
    mill.decide("reject", 2)
    export_job(mill.database, mixed, out / "o.parquet")
    reviews = pq.read_table(out / "o.parquet")["review"].to_pylist()
    assert [review and json.loads(review)["decision"] for review in reviews] == [None, "reject", None, None, None]


def test_exports_of_decisions_are_the_same_from_postgresql(postgres_mill: Any, out: Path) -> None:
    job = postgres_mill.mixed()
    postgres_mill.decide("approve", 2)
    postgres_mill.edit(4, " better")
    assert texts(postgres_mill, job, out, "approved") == [" bad 0", " better"]
    assert texts(postgres_mill, job, out, "clean") == [" good 0", " good 1", " better", " good 3"]


def test_an_export_says_which_sentence_decided_each_score(mill: Any, out: Path) -> None:
    job = mill.submit([PromptRow(position=0, prompt="a", n=1)], score_by=ScoreBy.SENTENCE)
    mill.generate(lambda work, sample: "Good. So bad.")
    claim = claim_scoring(mill.database, ABLE, LEASE)
    deciding = {"toxicity": (6, 13), "insult": (0, 5)}
    verdict = ScoredText(output_id=1, scores={"toxicity": 0.9, "insult": 0.1}, deciding=deciding)
    made_by = {"classifier": "demo", "classifier_revision": "c1", "score_by": ScoreBy.SENTENCE}
    save_scores(mill.database, claim, [verdict], (), **made_by)
    mixed = mill.mixed()
    for name in ("o.jsonl", "o.csv", "o.parquet"):
        export_job(mill.database, job, out / name)
        export_job(mill.database, mixed, out / f"mixed-{name}")
    (line,) = lines(out / "o.jsonl")
    assert (line["score_by"], line["deciding_sentences"]) == ("sentence", {"toxicity": [6, 13], "insult": [0, 5]})
    assert [line["text"][slice(*span)] for span in line["deciding_sentences"].values()] == ["So bad.", "Good."]
    (row,) = csv.DictReader((out / "o.csv").open(newline=""))
    (cell,) = pq.read_table(out / "o.parquet")["deciding_sentences"].to_pylist()
    assert json.loads(row["deciding_sentences"]) == json.loads(cell) == line["deciding_sentences"]
    plain = lines(out / "mixed-o.jsonl")
    assert {(one["score_by"], one["deciding_sentences"]) for one in plain} == {("window", None)}
    assert set(pq.read_table(out / "mixed-o.parquet")["deciding_sentences"].to_pylist()) == {None}
