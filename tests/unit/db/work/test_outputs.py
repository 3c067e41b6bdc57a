"""Texts, faults and scores: stored once, counted as stored, and nothing but text that SQL can hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contract.spec import JobStatus, PromptRow
from db.jobs.jobs import get_job
from db.jobs.retry import retry_job
from db.results.export_rows import reading_results
from db.results.reproduction import output_records
from db.work.claims import finish_generation, finish_scoring
from db.work.outputs import (
    ScoredText,
    count_scoring_attempt,
    give_up_scoring,
    provenance_id,
    record_fault,
    save_texts,
    texts_to_score,
)
from db.work.recovery import finish_jobs, sweep
from tests.unit.db.mill import MADE_BY, Mill, text_of, together, worker


def test_texts_arrive_exactly(mill: Mill) -> None:
    job = mill.submit(2, n=2)
    claim = mill.claim()
    strange = ["", " \n\t", "日本語 🦉\u2028\ufffe", "'; DROP TABLE outputs; --\\N"]
    alternatives = [{"token": "ü", "logprob": -0.5, "top": [["a", -1.0]]}]
    texts = [
        replace(text_of(work, index, text), logprobs=alternatives, seed=2**53 - 1, mean_logprob=None)
        for (work, index), text in zip(mill.missing(claim), strange, strict=True)
    ]
    mill.save(claim, texts)
    found = mill.outputs(job)
    assert [row.text for row in found] == strange
    assert all(row.logprobs == alternatives and row.seed == 2**53 - 1 and row.mean_logprob is None for row in found)
    assert [(row.position, row.sample_index) for row in found] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert all(row.safety == "waiting" and not row.flagged for row in found)
    mill.finish(claim)


def test_a_nul_character_becomes_the_replacement_character_on_both(mill: Mill) -> None:
    """PostgreSQL refuses U+0000; the engine replaces it, and the database relies on nobody."""
    job = mill.submit(2)
    claim = mill.claim()
    (work, index), (other, _) = mill.missing(claim)
    nul = [{"token": "\0", "logprob": -0.5}]
    mill.save(claim, [replace(text_of(work, index, "a\0b\0"), logprobs=nul)])
    record_fault(mill.database, claim, other.prompt_id, "bad\0reason", number=1, certain=True)
    assert mill.outputs(job)[0].text == "a\ufffdb\ufffd"
    assert mill.outputs(job)[0].logprobs == nul
    assert mill.prompts(job)[1].reason == "bad\ufffdreason"


def test_saving_the_same_texts_twice_stores_and_counts_them_once(mill: Mill) -> None:
    job = mill.submit(2, n=3)
    claim = mill.claim()
    texts = [text_of(work, index) for work, index in mill.missing(claim)]
    mill.save(claim, texts[:4])
    mill.save(claim, [replace(text, text="another") for text in texts[:4]])
    mill.assert_counters()
    mill.save(claim, [replace(text, text="another") for text in texts])  # some are there, some are not
    mill.assert_counters()
    assert [row.text for row in mill.outputs(job)] == [text.text for text in texts[:4]] + ["another"] * 2
    row = mill.batch(claim.batch_id)
    assert (row.generated, row.prompt_tokens) == (6, 6)


def test_a_text_that_comes_twice_in_one_save_is_stored_and_counted_once(mill: Mill) -> None:
    job = mill.submit(2)
    claim = mill.claim()
    texts = [text_of(work, index) for work, index in mill.missing(claim)]
    mill.save(claim, [*texts, texts[0]])
    mill.assert_counters()
    assert [row.text for row in mill.outputs(job)] == [text.text for text in texts]


def test_saving_nothing_stores_nothing(mill: Mill) -> None:
    job = mill.submit(2)
    claim = mill.claim()
    mill.save(claim, [])
    assert mill.outputs(job) == []
    mill.finish(claim)
    scoring = mill.claim_texts()
    mill.save_verdicts(scoring, [])
    assert mill.scores() == []


def test_a_thousand_samples_of_a_prompt_are_saved_at_once(mill: Mill) -> None:
    job = mill.submit(1, n=1000)
    claim = mill.claim()
    mill.generate(claim, 999)
    assert [index for _, index in mill.missing(claim)] == [999]
    mill.work_off()
    mill.finish(claim)
    mill.finish_texts(mill.claim_texts())
    assert mill.batches(job)[0].scored == 1000


def test_a_save_that_fails_stores_and_counts_nothing(mill: Mill) -> None:
    job = mill.submit(2)
    claim = mill.claim()
    texts = [text_of(work, index) for work, index in mill.missing(claim)]
    with pytest.raises(Exception, match="finish_reason"):
        mill.save(claim, [texts[0], replace(texts[1], finish_reason=None)])  # type: ignore[arg-type]
    assert mill.outputs(job) == []


def test_what_made_an_output_is_kept_once(mill: Mill) -> None:
    ids = together([lambda: provenance_id(mill.database, MADE_BY)] * 6)
    assert len(set(map(str, ids))) == 1 and isinstance(ids[0], int)
    assert provenance_id(mill.database, replace(MADE_BY, isa="")) != ids[0]


def test_the_third_fault_of_a_prompt_kills_it_and_no_other(mill: Mill) -> None:
    job = mill.submit(2)
    claim = mill.claim()
    prompt = mill.prompts(job)[0].id
    assert [record_fault(mill.database, claim, prompt, f"fault {i}", number=i, certain=False) for i in (1, 2, 3)] == [
        False, False, True,
    ]  # fmt: skip
    mill.assert_counters()
    dead, other = mill.prompts(job)
    assert (dead.status, dead.reason, dead.faults) == ("dead", "fault 3", 3)
    assert (other.status, other.faults, other.reason) == ("pending", 0, None)
    assert [work.position for work, _ in mill.missing(claim)] == [1]
    mill.finish(claim)
    mill.finish_texts(mill.claim_texts())
    assert mill.prompt_states(job) == ["dead", "done"]
    assert mill.status(job) == JobStatus.COMPLETED


def test_a_fault_whose_commit_was_not_answered_counts_once(mill: Mill) -> None:
    job = mill.submit(2)
    claim = mill.claim()
    prompt = mill.prompts(job)[0].id
    for number in (1, 1, 2, 2):
        assert not record_fault(mill.database, claim, prompt, "it fails", number=number, certain=False)
    assert [work.faults for work, _ in mill.missing(claim)] == [2, 0]
    for _ in range(2):
        assert record_fault(mill.database, claim, prompt, "it fails", number=3, certain=False)
    mill.assert_counters()
    assert mill.batch(claim.batch_id).dead == 1


def test_a_fault_that_is_certain_to_recur_kills_at_once_and_counts_once(mill: Mill) -> None:
    job = mill.submit(2)
    claim = mill.claim()
    prompt = mill.prompts(job)[1].id
    for _ in range(3):
        assert record_fault(mill.database, claim, prompt, "longer than the model", number=1, certain=True) is True
    assert mill.batch(claim.batch_id).dead == 1
    assert mill.prompts(job)[1].reason == "longer than the model"


def test_faults_are_remembered_from_one_claim_to_the_next(mill: Mill) -> None:
    job = mill.submit(2)
    prompt = mill.prompts(job)[0].id
    for number in (1, 2, 3):
        claim = mill.claim(worker(f"w{number}"))
        assert record_fault(mill.database, claim, prompt, "it fails", number=number, certain=False) is (number == 3)
        mill.expire(claim)
        sweep(mill.database)


def test_texts_of_a_prompt_that_died_later_stay(mill: Mill) -> None:
    job = mill.submit(1, n=3)
    claim = mill.claim()
    mill.generate(claim, 2)
    record_fault(mill.database, claim, mill.prompts(job)[0].id, "it fails", number=1, certain=True)
    assert finish_generation(mill.database, claim) is True
    mill.finish_texts(mill.claim_texts())
    assert len(mill.outputs(job)) == 2
    assert mill.prompt_states(job) == ["dead"]


def test_scores_flag_what_is_over_its_threshold(mill: Mill) -> None:
    job = mill.submit(4, batch_size=4, thresholds={"insult": 0.4})
    mill.finish(mill.claim())
    claim = mill.claim_texts()
    texts = texts_to_score(mill.database, claim)
    verdicts = [
        ScoredText(output_id=texts[0].output_id, scores={"toxicity": 0.69, "insult": 0.2}),
        ScoredText(output_id=texts[1].output_id, scores={"toxicity": 0.70, "insult": 0.2}),
        ScoredText(output_id=texts[2].output_id, scores={"toxicity": 0.1, "insult": 0.4}, blocked=("fool",)),
        ScoredText(output_id=texts[3].output_id, scores={"toxicity": 0.0}),
    ]
    mill.save_verdicts(claim, verdicts)
    found = mill.outputs(job)
    assert [row.flagged for row in found] == [False, True, True, False]
    assert [row.flag_reasons for row in found] == [None, ["toxicity"], ["insult", "blocklist:fool"], None]
    assert [row.top_score for row in found] == [0.69, 0.70, 0.4, 0.0]
    assert [(row.toxicity, row.insult, row.threat) for row in mill.scores()] == [
        (0.69, 0.2, None), (0.70, 0.2, None), (0.1, 0.4, None), (0.0, None, None),
    ]  # fmt: skip
    assert {(row.revision, row.classifier, row.classifier_revision) for row in mill.scores()} == {(0, "demo", "rev-c")}
    assert mill.batch(claim.batch_id).flagged == 2
    finish_scoring(mill.database, claim)


def test_saving_the_same_scores_twice_counts_them_once(mill: Mill) -> None:
    """As after a commit whose answer was lost on its way."""
    mill.submit(2)
    mill.finish(mill.claim())
    claim = mill.claim_texts()
    texts = texts_to_score(mill.database, claim)
    verdicts = [ScoredText(output_id=text.output_id, scores={"toxicity": 0.9}) for text in texts]
    mill.save_verdicts(claim, verdicts[:1])
    mill.save_verdicts(claim, verdicts)
    mill.save_verdicts(claim, verdicts)
    row = mill.batch(claim.batch_id)
    assert (row.scored, row.flagged) == (2, 2)
    assert len(mill.scores()) == 2


def test_scores_that_are_stored_are_not_asked_for_again(mill: Mill) -> None:
    job = mill.submit(2)
    mill.finish(mill.claim())
    claim = mill.claim_texts()
    first, second = texts_to_score(mill.database, claim)
    mill.save_verdicts(claim, [ScoredText(output_id=first.output_id, scores={"toxicity": 0.1})])
    mill.expire(claim)
    sweep(mill.database)
    again = mill.claim_texts(worker("w2"))
    assert texts_to_score(mill.database, again) == [second]
    mill.finish_texts(again)
    assert mill.status(job) == JobStatus.COMPLETED


def test_a_text_that_cannot_be_scored_is_flagged_and_settled(mill: Mill) -> None:
    job = mill.submit(2)
    mill.finish(mill.claim())
    claim = mill.claim_texts()
    bad, good = texts_to_score(mill.database, claim)
    for number in (1, 1, 2, 3):  # the first twice, as after a lost answer
        count_scoring_attempt(mill.database, claim, bad.output_id, number)
    assert [text.faults for text in texts_to_score(mill.database, claim)] == [3, 0]
    for _ in range(2):  # twice, as after a lost answer
        give_up_scoring(mill.database, claim, bad.output_id)
    assert texts_to_score(mill.database, claim) == [good]
    mill.finish_texts(claim)
    unscored, scored = mill.outputs(job)
    assert (unscored.safety, unscored.flagged, unscored.flag_reasons) == ("unscored", True, ["unscored"])
    assert (scored.safety, scored.flagged) == ("scored", False)
    row = mill.batch(claim.batch_id)
    assert (row.scored, row.unscored, row.flagged) == (1, 1, 1)
    assert mill.status(job) == JobStatus.COMPLETED
    assert mill.prompt_states(job) == ["done", "done"]


def test_attempts_to_score_are_remembered_from_one_claim_to_the_next(mill: Mill) -> None:
    mill.submit(1)
    mill.finish(mill.claim())
    for before in range(3):
        claim = mill.claim_texts(worker(f"w{before}"))
        (text,) = texts_to_score(mill.database, claim)
        assert text.faults == before
        count_scoring_attempt(mill.database, claim, text.output_id, before + 1)
        mill.expire(claim)
        sweep(mill.database)


def test_what_was_sent_of_messages_is_kept_from_the_first_save_and_again_after_a_retry(mill: Mill) -> None:
    messages = [{"role": "user", "content": "“Who” is \\ it?\n"}]
    rows = [PromptRow(position=place, prompt="user: Who?", messages=messages, n=2) for place in (0, 1)]
    job = mill.submit(rows, safety="none")
    claim = mill.claim()
    (first, _), (_, _), (dead, _), _ = mill.missing(claim)
    assert (first.messages, first.sent) == (messages, None)
    made_by = provenance_id(mill.database, MADE_BY)
    for index, sent in enumerate(("<user>Who?", "<user>Who, on another day?")):
        texts = [text_of(first, index)]
        save_texts(mill.database, claim, texts, made_by, scored_later=False, sent={first.prompt_id: sent})
    record_fault(mill.database, claim, dead.prompt_id, "no template", number=1, certain=True)
    finish_generation(mill.database, claim)
    finish_jobs(mill.database)
    records = output_records(mill.database, [row.id for row in mill.outputs(job)])
    assert [(record.prompt, record.chat) for record in records] == [("<user>Who?", True)] * 2
    with reading_results(mill.database, get_job(mill.database, job)) as results:
        assert [(one.sent, one.messages) for one in results.outputs()] == [("<user>Who?", messages)] * 2
        assert [(one.prompt, one.messages) for one in results.lost_prompts()] == [("user: Who?", messages)]
    assert retry_job(mill.database, job).prompts == 1
    assert [work.messages for work, _ in mill.missing(mill.claim())] == [messages] * 2
