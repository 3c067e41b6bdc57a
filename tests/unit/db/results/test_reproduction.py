"""Reading outputs with what it takes to make them again, and drawing some of a job's."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from sqlalchemy import update

from contract.errors import UsageError
from contract.spec import PromptRow, SamplingSettings
from db.jobs.jobs import cancel_job
from db.models import Output
from db.results.reproduction import draw_outputs, output_records
from db.session.dialect import CHUNK_IDS
from tests.unit.db.mill import MADE_BY, Mill, text_of


def test_a_record_holds_all_that_made_the_output(mill: Mill) -> None:
    own = {"temperature": 0.5, "stop": ["."], "seed": 11}
    job = mill.submit(
        [PromptRow(position=0, prompt="Once", n=2, settings=own), PromptRow(position=1, prompt="日本", n=1)],
        settings=SamplingSettings(max_new_tokens=9, top_k=7),
    )
    mill.work_off()
    stored = mill.outputs(job)
    records = output_records(mill.database, [row.id for row in stored])
    assert [record.prompt for record in records] == ["Once", "Once", "日本"]
    assert [record.seed for record in records] == [row.seed for row in stored] == [0, 1, 1000]
    assert records[0].settings == SamplingSettings(max_new_tokens=9, top_k=7, temperature=0.5, stop=(".",), seed=11)
    assert records[2].settings == SamplingSettings(max_new_tokens=9, top_k=7)
    assert all(record.made_by == MADE_BY and record.job_id == job for record in records)
    for row, record in zip(stored, records, strict=True):
        assert (record.text, record.finish_reason, record.tokens, record.mean_logprob) == (
            row.text, row.finish_reason, row.tokens, row.mean_logprob
        )  # fmt: skip


def test_records_come_in_the_order_asked_for_each_once_and_from_any_job(mill: Mill) -> None:
    one, two = mill.submit(2), mill.submit(1, fingerprint="e" * 64, settings=SamplingSettings(top_k=3))
    mill.work_off()
    first, second, other = (row.id for job in (one, two) for row in mill.outputs(job))
    records = output_records(mill.database, [other, second, other, first])
    assert [record.id for record in records] == [other, second, first]
    assert [record.settings.top_k for record in records] == [3, 50, 50]


def test_what_becomes_of_an_output_later_does_not_change_its_record(mill: Mill) -> None:
    job = mill.submit(4)
    mill.finish(mill.claim())
    ids = [row.id for row in mill.outputs(job)]
    before = output_records(mill.database, ids)
    cancel_job(mill.database, job)
    with mill.database.write() as connection:
        connection.execute(update(Output).where(Output.job_id == job).values(decision="reject"))
    assert output_records(mill.database, ids) == before
    assert draw_outputs(mill.database, job, 10, seed=1).ids == tuple(ids)


def test_outputs_that_are_not_there_are_all_named(mill: Mill) -> None:
    job = mill.submit(1)
    mill.work_off()
    (there,) = (row.id for row in mill.outputs(job))
    with pytest.raises(UsageError, match="there is no output 2147483648;"):
        output_records(mill.database, [there, 2**31])
    with pytest.raises(UsageError, match=r"there are no outputs 901, 902, .*910 …;"):
        output_records(mill.database, [there, *range(901, 950)])


def test_a_draw_is_fixed_by_its_seed_and_takes_no_more_than_there_is(mill: Mill) -> None:
    job = mill.submit(20, n=3, batch_size=20)
    mill.submit(2, fingerprint="e" * 64)
    mill.work_off()
    mine = [row.id for row in mill.outputs(job)]
    some = draw_outputs(mill.database, job, 10, seed=1)
    assert some == draw_outputs(mill.database, job, 10, seed=1)
    assert some.ids != draw_outputs(mill.database, job, 10, seed=2).ids
    assert (len(set(some.ids)), some.total) == (10, 60)
    assert set(some.ids) <= set(mine)
    assert list(some.ids) == sorted(some.ids)
    assert draw_outputs(mill.database, job, 61, seed=1).ids == tuple(sorted(mine))


def test_every_output_of_a_job_has_its_chance(mill: Mill) -> None:
    job = mill.submit(10)
    mill.work_off()
    drawn = Counter(output for seed in range(100) for output in draw_outputs(mill.database, job, 3, seed).ids)
    assert len(drawn) == 10
    assert all(10 < count < 55 for count in drawn.values())  # 30 expected, with a deviation of 4.6


def test_more_outputs_than_one_statement_may_name_are_read(mill: Mill) -> None:
    job = mill.submit(3, n=CHUNK_IDS // 2, batch_size=3)
    claim = mill.claim()
    mill.save(claim, [replace(text_of(work, index), tokens=1) for work, index in mill.missing(claim)])
    mill.finish(claim)
    ids = draw_outputs(mill.database, job, 10**6, seed=1).ids
    assert len(ids) == 3 * (CHUNK_IDS // 2)
    assert [record.id for record in output_records(mill.database, ids)] == list(ids)


def test_a_job_without_outputs_and_a_job_that_is_not_there(mill: Mill) -> None:
    job = mill.submit(1)
    assert draw_outputs(mill.database, job, 5, seed=1).ids == ()
    with pytest.raises(UsageError, match="there is no job 99"):
        draw_outputs(mill.database, 99, 5, seed=1)
