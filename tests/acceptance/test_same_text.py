"""The same text every time: 500 prompts of mixed settings in every company, and each of them alone."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence

import pytest
from sqlalchemy import select

from db.models import Output
from db.results.reproduction import OutputRecord, output_records
from db.session.engine import open_database
from tests.acceptance.conftest import Home, write_prompts
from worker.engine.engine import SlotEngine
from worker.engine.load.loading import load_engine
from worker.engine.sequence import Completion, Request

PROMPTS = 500
Written = dict[Hashable, tuple[str, str, int, float]]


def written_by(engine: SlotEngine, records: Sequence[OutputRecord], together: int) -> Written:
    """The texts by the outputs' ids, with so many requests in the engine at once."""
    waiting, done = list(records), {}
    while waiting or engine.pending:
        while waiting and engine.pending < together:
            record = waiting.pop()
            engine.add([Request(record.id, record.prompt, record.settings, record.seed)])
        for report in engine.step():
            assert isinstance(report, Completion), report
            done[report.key] = (report.text, report.finish_reason, report.tokens, report.mean_logprob)
    return done


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "int8"])
def test_a_text_is_the_same_alone_in_any_batch_and_when_one_of_two_workers_is_killed(home: Home, dtype: str) -> None:
    for name in ("prompts.jsonl", "other.jsonl"):
        write_prompts(home.folder / name, PROMPTS, 1)
    serving = ("--model", "demo", "--safety", "demo", "--dtype", dtype)
    for _ in range(2):
        home.start("worker", *serving)
    home.inkmill("submit", "prompts.jsonl", *serving, "--seed", "11")
    home.inkmill("submit", "other.jsonl", *serving, "--seed", "12", "--again", "--temperature", "1.3")
    home.until(lambda now: now["outputs"]["generated"] >= 50)
    home.worker_children()[0].kill()
    assert home.finished()["outputs"]["generated"] == PROMPTS
    database = open_database(f"sqlite:///{home.folder / 'inkmill.db'}")
    with database.read() as connection:
        ids = connection.scalars(select(Output.id).where(Output.job_id == 1)).all()
    records = output_records(database, ids)
    database.close()
    stored = {record.id: (record.text, record.finish_reason, record.tokens, record.mean_logprob) for record in records}
    assert len(stored) == PROMPTS
    loaded = load_engine("demo", "cpu", dtype).engine
    assert isinstance(loaded, SlotEngine)
    for together in (1, 2, 7, 64, 256):
        engine = SlotEngine(loaded.model, loaded._vocabulary, slots=together)
        random.Random(together).shuffle(records)
        assert written_by(engine, records, together) == stored, f"{together} at once"
