"""A job's figures, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, update

from contract.spec import PromptRow
from db.insights import sample as insight_sample
from db.insights.figures import SCORE_BINS, insights
from db.insights.sample import Sample, draw_sample
from db.models import Output
from db.work.outputs import ScoredText, texts_to_score
from tests.unit.db.mill import Mill


def _job(mill: Mill, count: int, scores: Callable[[int], dict[str, float]], **row: Any) -> int:
    """A job of `count` prompts, the i-th text scored as said, with metadata where `metadata` makes some of i."""
    metadata = row.pop("metadata", lambda i: None)
    prompts = [PromptRow(position=i, prompt=f"p {i}", n=1, metadata=metadata(i)) for i in range(count)]
    job = mill.submit(prompts, batch_size=max(count, 1))
    if not count:
        return job
    claim = mill.claim()
    mill.finish(claim)
    claim = mill.claim_texts()
    waiting = texts_to_score(mill.database, claim)
    mill.save_verdicts(claim, [ScoredText(output_id=t.output_id, scores=scores(i)) for i, t in enumerate(waiting)])
    return job


def test_a_job_without_outputs_has_empty_figures(mill: Mill) -> None:
    found = insights(mill.database, _job(mill, 0, lambda i: {}))
    assert (found.total, found.counted, found.scale) == (0, 0, 1.0)
    assert not found.scores and not found.moments and not found.lengths and not found.finishes and not found.keys


def test_scores_fall_into_equal_parts_and_one_belongs_to_the_last(mill: Mill) -> None:
    scores = [0.0, 0.049, 0.05, 0.7, 0.999, 1.0]
    job = _job(mill, len(scores), lambda i: {"toxicity": scores[i], "insult": 0.31})
    found = insights(mill.database, job).scores
    assert set(found) == {"toxicity", "insult"}
    assert {i: n for i, n in enumerate(found["toxicity"]) if n} == {0: 2, 1: 1, 14: 1, SCORE_BINS - 1: 2}
    assert found["insult"][6] == len(scores)


def test_another_classifiers_scores_and_other_jobs_are_not_counted(mill: Mill) -> None:
    job = _job(mill, 3, lambda i: {"toxicity": 0.2})
    _job(mill, 5, lambda i: {"toxicity": 0.9})
    found = insights(mill.database, job)
    assert (found.total, sum(found.scores["toxicity"]), sum(found.finishes.values())) == (3, 3, 3)


def test_lengths_and_finish_reasons_are_counted(mill: Mill) -> None:
    job = _job(mill, 4, lambda i: {"toxicity": 0.2})  # the mill's texts have position + 1 tokens
    with mill.database.write() as connection:
        connection.execute(update(Output).where(Output.tokens == 1).values(finish_reason="stop"))
    found = insights(mill.database, job)
    assert found.lengths == {1: 1, 2: 1, 3: 1, 4: 1}
    assert found.finishes == {"length": 3, "stop": 1}


def test_moments_cover_the_whole_time_without_gaps(mill: Mill) -> None:
    job = _job(mill, 4, lambda i: {"toxicity": 0.2})
    times = [1000.2, 1000.9, 1065.0, 1150.0]
    with mill.database.write() as connection:
        for output, at in zip(connection.scalars(select(Output.id).order_by(Output.id)).all(), times, strict=True):
            connection.execute(update(Output).where(Output.id == output).values(created_at=at))
    found = insights(mill.database, job)
    assert found.moment_seconds == 5
    assert [m.start for m in found.moments] == [1000 + 5 * i for i in range(31)]
    assert {m.start: (m.outputs, m.tokens) for m in found.moments if m.outputs} == {
        1000: (2, 3),
        1065: (1, 3),
        1150: (1, 4),
    }


def test_metadata_is_grouped_by_key_and_plain_value(mill: Mill) -> None:
    def metadata(i: int) -> dict[str, Any] | None:
        if i == 5:
            return None
        return {"topic": "cats" if i < 3 else "dogs", "long": i % 2 == 0, "deep": {"a": 1}, "none": None, "n": 1.5}

    job = _job(mill, 6, lambda i: {"toxicity": 0.9 if i < 2 else 0.1}, metadata=metadata)
    found = {key.key: key for key in insights(mill.database, job).keys}
    assert set(found) == {"topic", "long", "n"}
    assert [(v.value, v.outputs, v.flagged) for v in found["topic"].values] == [("cats", 3, 2), ("dogs", 2, 0)]
    assert {(v.value, v.outputs, v.flagged) for v in found["long"].values} == {("true", 3, 1), ("false", 2, 1)}
    assert found["n"].values[0].value == "1.5"


def test_metadata_that_postgresql_cannot_read_does_not_end_the_page(mill: Mill) -> None:
    job = _job(mill, 2, lambda i: {"toxicity": 0.1}, metadata=lambda i: {"a": "x\0y" if i else "plain"})
    found = insights(mill.database, job).keys
    assert found[0].values[0].value == "plain" or found[0].distinct == 2


def test_a_key_whose_values_are_many_is_cut_and_says_how_many_there_are(mill: Mill) -> None:
    job = _job(mill, 40, lambda i: {"toxicity": 0.1}, metadata=lambda i: {"id": i, "text": "ü" * 500})
    found = {key.key: key for key in insights(mill.database, job).keys}
    assert found["id"].distinct == 40
    assert len(found["id"].values) == 12
    assert found["text"].values[0].value == "ü" * 80


def test_a_large_job_is_sampled_evenly_and_says_so(mill: Mill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(insight_sample, "COMPLETE_UP_TO", 100)
    monkeypatch.setattr(insight_sample, "RUNS", 20)
    monkeypatch.setattr(insight_sample, "RUN_WIDTH", 5)
    job = _job(mill, 400, lambda i: {"toxicity": 0.9 if i % 4 == 0 else 0.1})
    with mill.database.read() as connection:
        sample = draw_sample(connection, job)
        chosen = list(connection.scalars(sample.chosen(select(Output.id)).order_by(Output.id)))
    found = insights(mill.database, job)
    assert not sample.complete
    assert sample.size == len(chosen) == len(set(chosen)) == found.counted == 100
    assert [id - chosen[0] for id in chosen[:7]] == [0, 1, 2, 3, 4, 20, 21]
    assert found.total == 400 and found.scale == 4.0
    assert sum(found.scores["toxicity"]) == 100
    assert sum(m.outputs for m in found.moments) == 400


def test_a_samples_scale_never_divides_by_nothing() -> None:
    assert Sample(job_id=1, total=0, size=0, first=0, stride=0).scale == 1.0
