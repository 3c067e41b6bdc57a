"""What threshold advice and a report are made of, on both databases."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from contract.failures import FailureCode
from contract.review import Action, Filter, State
from db.insights import sample
from db.insights.advice import Judged, Texts, evidence
from db.insights.report import EXCERPT, report_facts
from db.jobs.jobs import get_job
from db.jobs.reflag import reflag_job
from db.jobs.retry import retry_job
from db.jobs.status import snapshot, snapshots
from db.models import Output
from db.review.claims import next_output
from db.review.decisions.acts import decide, undo
from db.session.engine import Database
from db.work.outputs import record_fault
from tests.browser.stock import Piece, stock
from tests.unit.db.mill import Mill

# The other labels' scores are shares of toxicity: insult 0.7, obscene 0.5, and less.
PIECES = (Piece(" a", 0.1), Piece(" b", 0.1), Piece(" c", 0.5), Piece(" d", 0.75), Piece(" e", 0.9),
          Piece(" f", 0.2, others={"threat": 0.8}))  # fmt: skip


def _texts(database: Database, label: str) -> set[tuple[int | None, bool, bool, float]]:
    found: tuple[Texts, ...] = evidence(database, 1, label).texts
    return {(t.score_bin, t.flagged, t.other_reasons, t.number) for t in found}


def _judged(database: Database, label: str = "toxicity") -> list[tuple[int | None, bool, bool, bool, int]]:
    found: tuple[Judged, ...] = evidence(database, 1, label).judged
    return sorted((j.score_bin or 0, j.flagged, j.drawn, j.unfit, j.number) for j in found)


def test_texts_are_counted_by_hundredth_and_by_what_flags_them(database: Database) -> None:
    stock(database, PIECES)
    assert _texts(database, "toxicity") == {(10, False, False, 2), (50, False, False, 1), (75, True, False, 1),
                                            (90, True, False, 1), (20, True, True, 1)}  # fmt: skip
    assert _texts(database, "threat") == {(1, False, False, 2), (5, False, False, 1), (7, True, True, 1),
                                          (9, True, True, 1), (80, True, False, 1)}  # fmt: skip


def test_only_flagged_and_drawn_texts_count_and_undone_decisions_do_not(database: Database) -> None:
    outputs = stock(database, PIECES)
    decide(database, outputs[0], "mara", Action.REJECT)  # neither flagged nor drawn
    decide(database, outputs[3], "mara", Action.APPROVE)
    decide(database, outputs[4], "mara", Action.EDIT, text=" kinder")
    decide(database, outputs[5], "mara", Action.REJECT)
    assert _judged(database) == [(20, True, False, True, 1), (75, True, False, False, 1), (90, True, False, True, 1)]
    undo(database, "mara", outputs[5])
    assert _judged(database) == [(75, True, False, False, 1), (90, True, False, True, 1)]


def test_a_drawn_text_stands_for_as_many_as_there_were(database: Database) -> None:
    stock(database, PIECES)
    drawn = next(o for _ in range(100) if (o := next_output(database, "mara", Filter(), audit_share=0.9)) in (1, 2, 3))
    decide(database, drawn, "mara", Action.APPROVE)
    [found] = evidence(database, 1, "toxicity").judged
    assert (found.drawn, found.flagged, found.unfit) == (True, False, False)
    assert found.weight == pytest.approx(3) and found.squares == pytest.approx(9)


def test_a_reflag_changes_which_decisions_are_of_flagged_texts(database: Database) -> None:
    outputs = stock(database, PIECES)
    decide(database, outputs[3], "mara", Action.APPROVE)
    reflag_job(database, 1, thresholds={"toxicity": 0.8}, blocklist=None)
    assert _judged(database) == [(75, False, False, False, 1)]


def test_a_sampled_jobs_unflagged_texts_are_scaled_to_what_is_known(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("COMPLETE_UP_TO", 40), ("RUNS", 10), ("RUN_WIDTH", 2)):
        monkeypatch.setattr(sample, name, value)
    stock(database, [Piece(f" {i}", 0.9 if i % 10 == 0 else 0.3) for i in range(100)])
    found = evidence(database, 1, "toxicity")
    assert found.counted < found.total == 100
    assert sum(t.number for t in found.texts if t.flagged) == 10  # never sampled
    assert sum(t.number for t in found.texts if not t.flagged) == pytest.approx(90)


def test_an_account_counts_every_reason_and_cuts_long_texts(database: Database) -> None:
    outputs = stock(database, [*PIECES, Piece("x" * 2000, 0.1), Piece("\U0001f600" * 700, 0.95)])
    decide(database, outputs[3], "mara", Action.APPROVE)
    found = report_facts(database, 1, 3)
    assert found.reasons == {"toxicity": 3, "threat": 1}
    assert found.states == {State.APPROVED: 1, State.PENDING: 3}
    assert found.provenances == (("demo", "rev-1", "stub 1", "2.13", "cpu", "fp32"),)
    assert [one.top_score for one in found.flagged] == [0.95, 0.9, 0.8]
    assert (len(found.flagged[0].text), found.flagged[0].text_length) == (EXCERPT, 700)
    assert len(found.unflagged) == 3 and not any(one.flagged for one in found.unflagged)


def test_one_code_is_retried_alone(mill: Mill) -> None:
    job = mill.submit(4, batch_size=4)
    claim = mill.claim()
    codes = (FailureCode.TOO_LONG, FailureCode.TOO_LONG, FailureCode.BAD_PROMPT)
    for (work, _), code in zip(mill.missing(claim), codes, strict=False):
        record_fault(mill.database, claim, work.prompt_id, f"why {code}", number=1, certain=True, code=code)
    mill.finish(claim)
    mill.finish_texts(mill.claim_texts())
    assert retry_job(mill.database, job, code=FailureCode.UNKNOWN).prompts == 0
    assert retry_job(mill.database, job, code=FailureCode.TOO_LONG).prompts == 2
    assert snapshot(mill.database, job).failures == {"why bad-prompt": 1}
    assert get_job(mill.database, job).status == "queued"


def test_older_jobs_are_listed_from_one_on(mill: Mill) -> None:
    jobs = [mill.submit(1) for _ in range(4)]
    assert [job.id for job in snapshots(mill.database, limit=2, before=jobs[3])] == [jobs[2], jobs[1]]
    assert snapshots(mill.database, before=jobs[0]) == []


def test_nothing_of_another_job_is_in_the_evidence(database: Database) -> None:
    stock(database, PIECES)
    stock(database, PIECES[:2], name="other.jsonl")
    with database.read() as connection:
        assert set(connection.scalars(select(Output.job_id))) == {1, 2}
    assert evidence(database, 2, "toxicity").total == 2
    assert {t.number for t in evidence(database, 2, "toxicity").texts} == {2}
