"""Retrying with other settings, and by the code of the reason: what may change, and what stays as it was made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from contract.errors import UsageError
from contract.failures import FailureCode
from contract.spec import PromptRow
from db.insights.failures import failure_groups
from db.jobs.jobs import cancel_job, get_job
from db.jobs.retry import Retried, retry_job
from db.models import Prompt
from db.record import acts_on
from db.results.export_rows import reading_results
from db.results.reproduction import output_records
from db.work.outputs import record_fault
from tests.unit.db.mill import Mill, text_of

SHORTEN = {"on_too_long": "shorten"}


def dead(mill: Mill, *rows: PromptRow, code: FailureCode = FailureCode.TOO_LONG, **spec: Any) -> int:
    """A job of these prompts, all of which are dead."""
    job = mill.submit(list(rows), batch_size=len(rows), **spec)
    claim = mill.claim()
    for prompt in mill.prompts(job):
        record_fault(mill.database, claim, prompt.id, f"{code} {prompt.position}", number=1, certain=True, code=code)
    mill.finish(claim)
    return job


def row(position: int, **values: Any) -> PromptRow:
    return PromptRow(position=position, prompt=f"p{position}", **{"n": 1} | values)


def settings_of(mill: Mill, job: int) -> list[dict[str, Any] | None]:
    return [prompt.settings for prompt in mill.prompts(job)]


def test_settings_are_laid_over_a_dead_prompts_own(mill: Mill) -> None:
    job = dead(mill, row(0), row(1, settings={"temperature": 0.5, "max_new_tokens": 900, "seed": 4}))
    asked = {"max_new_tokens": 20, "logit_bias": ((5, 1.0),), "stop": ("a",)}
    assert retry_job(mill.database, job, settings=asked) == Retried(2, 0)
    stored = {"max_new_tokens": 20, "logit_bias": {"5": 1.0}, "stop": ["a"]}
    assert settings_of(mill, job) == [stored, {"temperature": 0.5, "seed": 4} | stored]
    assert {(prompt.code, prompt.reason) for prompt in mill.prompts(job)} == {(None, None)}
    (act,) = acts_on(mill.database, job)
    assert act.what == "retry" and act.after is not None and act.after["settings"] == stored
    mill.work_off()
    with reading_results(mill.database, get_job(mill.database, job)) as results:
        assert [(one.settings.max_new_tokens, one.settings.seed) for one in results.outputs()] == [(20, None), (20, 4)]


def test_a_prompt_with_a_text_keeps_the_settings_that_made_it(mill: Mill) -> None:
    job = mill.submit([row(0, n=2), row(1, n=2)], batch_size=2)
    claim = mill.claim()
    (first, sample), *_ = mill.missing(claim)
    mill.save(claim, [text_of(first, sample)])
    for prompt in mill.prompts(job):
        record_fault(mill.database, claim, prompt.id, "x", number=1, certain=True)
    mill.finish(claim)
    mill.finish_texts(mill.claim_texts())
    assert retry_job(mill.database, job, settings={"temperature": 0.25}) == Retried(2, 0, kept=1)
    assert settings_of(mill, job) == [None, {"temperature": 0.25}]


def test_cancelled_prompts_keep_their_settings(mill: Mill) -> None:
    job = mill.submit([row(0)])
    cancel_job(mill.database, job)
    assert retry_job(mill.database, job, settings=SHORTEN) == Retried(1, 0)
    assert settings_of(mill, job) == [None]


@pytest.mark.parametrize("name", ["n", "seed"])
def test_the_number_of_texts_and_their_seeds_stay(mill: Mill, name: str) -> None:
    job = dead(mill, row(0))
    with pytest.raises(UsageError, match=f"{name}: a retry"):
        retry_job(mill.database, job, settings={name: 3})
    assert mill.prompt_states(job) == ["dead"]


def test_settings_that_do_not_go_together_with_a_prompts_own_change_nothing(mill: Mill) -> None:
    job = dead(mill, row(0), row(1, settings={"min_new_tokens": 30}))
    with pytest.raises(UsageError, match=rf"prompt 2 of job {job}: min_new_tokens: is 30, more than max_new_tokens 20"):
        retry_job(mill.database, job, settings={"max_new_tokens": 20})
    assert mill.prompt_states(job) == ["dead"] * 2 and settings_of(mill, job)[0] is None


def test_a_job_that_is_not_over_takes_no_settings(mill: Mill) -> None:
    job = mill.submit([row(0)], device="cpu")
    for how in ({"settings": SHORTEN}, {"code": FailureCode.TOO_LONG}):
        with pytest.raises(UsageError, match="only a job that is over"):
            retry_job(mill.database, job, any_worker=True, **how)
    assert get_job(mill.database, job).device == "cpu"


def test_only_what_died_of_a_code_is_taken_up(mill: Mill) -> None:
    job = dead(mill, row(0), row(1))
    other = FailureCode.BAD_PROMPT
    assert retry_job(mill.database, job, code=other, settings=SHORTEN) == Retried(0, 0)
    assert settings_of(mill, job) == [None, None]
    assert retry_job(mill.database, job, code=FailureCode.TOO_LONG, settings=SHORTEN) == Retried(2, 0)
    assert settings_of(mill, job) == [SHORTEN] * 2


def test_failures_are_grouped_by_code_with_the_first_prompts(mill: Mill) -> None:
    job = dead(mill, *(row(place, custom_id=f"r-{place}" if place else None) for place in range(7)))
    with mill.database.write() as connection:
        for position, code in ((4, "out-of-memory"), (5, "of-a-later-version"), (6, None)):
            connection.execute(update(Prompt).where(Prompt.position == position).values(code=code))
    many, unknown, memory = failure_groups(mill.database, job)
    assert (many.code, many.prompts, many.reason) == (FailureCode.TOO_LONG, 4, "too-long 0")
    assert [one.name for one in many.examples] == ["prompt 1", "r-1", "r-2", "r-3"]
    assert (unknown.code, unknown.prompts) == (FailureCode.UNKNOWN, 2)
    assert (memory.code, memory.remedy.retry) == (FailureCode.OUT_OF_MEMORY, ())
    assert retry_job(mill.database, job, code=FailureCode.UNKNOWN).prompts == 2


def test_an_output_says_what_was_really_used_of_its_settings(mill: Mill) -> None:
    job = mill.submit([row(0, settings={"max_new_tokens": 900, "min_new_tokens": 50} | SHORTEN)])
    claim = mill.claim()
    ((work, sample),) = mill.missing(claim)
    fitted = {"prompt_tokens": 1000, "cut_tokens": 0, "max_new_tokens": 24}
    mill.save(claim, [replace(text_of(work, sample), fitted=fitted)])
    with reading_results(mill.database, get_job(mill.database, job)) as results:
        (output,) = results.outputs()
    assert output.fitted == fitted
    (record,) = output_records(mill.database, [output.id])
    assert output.settings == record.settings
    assert (record.settings.max_new_tokens, record.settings.min_new_tokens) == (24, 24)
