"""A job's own texts as a corpus: which of them, edited ones as edited, and what is kept of where they come from."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from contract.errors import NoSuchJob, UsageError
from contract.spec import PromptRow
from contract.tunings.order import TuningOrder
from db.jobs.jobs import get_job
from db.results.corpus_rows import corpus_rows
from db.tuning.lineage import learned_outputs
from producer.corpus.order import CorpusJob
from producer.export import export_job
from producer.tuning import submit_tuning
from tests.unit.producer.corpus.conftest import Prepared
from tests.unit.producer.exports.conftest import any_mill, mill, mixed, postgres_mill  # noqa: F401  (fixtures)

Prepare = Callable[..., Prepared]


def outputs(prepared: Prepared) -> list[dict[str, Any]]:
    assert prepared.corpus.outputs is not None
    return [json.loads(line) for line in prepared.corpus.outputs.read_text().splitlines()]


def test_approved_texts_are_learned_and_edited_ones_as_edited(prepare: Prepare, mill: Any, mixed: int) -> None:  # noqa: F811
    mill.decide("approve", 1)
    mill.edit(2, " better")
    mill.decide("reject", 3)
    prepared = prepare({}, CorpusJob(mill.database, mixed), validation=0.0)
    assert prepared.train == ["Once good 0", "Once better"]
    assert prepared.learned == [" good 0", " better"]
    assert prepared.corpus.job == mixed
    assert [(one["output"], one["revision"]) for one in outputs(prepared)] == [(1, 0), (2, 1)]
    assert all(isinstance(one["decision"], int) for one in outputs(prepared))
    assert prepared.corpus.train.documents[:, 2].tolist() == [1, 2]  # the outputs
    assert prepared.corpus.files[0].name == f"job {mixed}" and prepared.corpus.files[0].documents == 2


def test_other_texts_can_be_chosen(prepare: Prepare, mill: Any, mixed: int) -> None:  # noqa: F811
    prepared = prepare({"more.txt": "More."}, CorpusJob(mill.database, mixed, "clean"), validation=0.0)
    assert prepared.train == ["More.", "Once good 0", "Twice good 1", " good 3"]
    assert [one["decision"] for one in outputs(prepared)] == [None, None, None]


def test_a_conversation_of_a_job_goes_through_the_template(prepare: Prepare, mill: Any, tmp_path: Any) -> None:  # noqa: F811
    from tests.unit.producer.corpus.test_conversations import CHATML, model_with

    asked = [{"role": "user", "content": "A river?"}]
    job = mill.submit([PromptRow(position=0, prompt="user: A river?", messages=asked, n=1)])
    mill.generate(lambda work, sample: "The Elbe.")
    mill.score()
    model = model_with(CHATML, tmp_path / "model")
    prepared = prepare({}, CorpusJob(mill.database, job, "all"), model=model, validation=0.0)
    assert prepared.learned == ["The Elbe.<|im_end|>\n"]


def test_a_job_without_such_texts_is_refused(prepare: Prepare, mill: Any, mixed: int) -> None:  # noqa: F811
    with pytest.raises(UsageError, match=r"--from-job 1: none of its outputs is approved; review them"):
        prepare({}, CorpusJob(mill.database, mixed))
    with pytest.raises(UsageError, match=r"--only aproved: is not a selection"):
        prepare({}, CorpusJob(mill.database, mixed, "aproved"))
    with pytest.raises(NoSuchJob):
        prepare({}, CorpusJob(mill.database, 99))


@pytest.mark.parametrize("name", ["o.jsonl", "o.csv", "o.parquet"])
def test_an_export_is_the_same_corpus(prepare: Prepare, mill: Any, mixed: int, tmp_path: Any, name: str) -> None:  # noqa: F811
    export_job(mill.database, mixed, tmp_path / f"first-{name}", only=("clean",), for_spreadsheets=name == "o.csv")
    prepared = prepare({name: (tmp_path / f"first-{name}").read_bytes()}, validation=0.0)
    assert prepared.train == ["Once good 0", "Twice good 1", " good 3"]
    assert prepared.learned == [" good 0", " good 1", " good 3"]


def test_a_job_that_is_not_finished_is_told(prepare: Prepare, mill: Any) -> None:  # noqa: F811
    job = mill.submit(["a", "b"], batch_size=1)
    mill.generate(batches=1)
    prepared = prepare({}, CorpusJob(mill.database, job, "all"), validation=0.0)
    assert prepared.train == ["a text 0.0"]
    assert prepared.heard.notes == ["job 1: job 1 is not finished; its 1 text so far are taken"]


def test_rows_come_in_the_order_of_the_prompts(any_mill: Any) -> None:  # noqa: F811
    job = any_mill.mixed()
    any_mill.edit(2, " better")
    rows = list(corpus_rows(any_mill.database, get_job(any_mill.database, job), ["approved", "flagged"]))
    assert [(row.prompt, row.text, row.revision) for row in rows] == [("Once", " better", 1), ("Twice", " bad 1", 0)]
    assert rows[0].decision is not None and rows[1].decision is None


def test_a_tuning_names_the_outputs_that_were_used_and_no_others(prepare: Prepare, mill: Any) -> None:  # noqa: F811
    job = mill.submit(["a", "b", "a", "c"])
    mill.generate(lambda work, sample: " " if work.position == 1 else " the Elbe")
    mill.score()
    prepared = prepare({"more.txt": "More."}, CorpusJob(mill.database, job, "all"), validation=0.3)
    corpus, order = prepared.corpus, TuningOrder(name="tales", base="demo")
    assert (corpus.empty, corpus.duplicates) == (1, 1)
    tuning = submit_tuning(mill.database, order, corpus, "work", None)
    assert [learned.id for learned in learned_outputs(mill.database, tuning.id)] == [1, 4]
