"""The bench of load, on a small scale: real processes save and claim, and its stubs stand where a worker needs them."""

from __future__ import annotations

from importlib import import_module
from inspect import signature

import pytest

from bench.chaos.stack import ROOT
from bench.load import claims, saves
from bench.load.inside.stubs import REPLACED, InstantClassifier, InstantEngine, scores_of, text_of
from bench.load.tables import Table
from contract.policy import flag_reasons
from contract.spec import SamplingSettings
from worker.engine.sequence import Completion, Request
from worker.runtime.core_lock import Cores
from worker.runtime.engine_thread import Feeder
from worker.runtime.watchdog import Watchdog
from worker.safety.detoxify import Classifier


def test_processes_that_save_together_complete_a_job(sqlite_url: str) -> None:
    rate, *spent = saves.saved(sqlite_url, ROOT, 600, ["scores", "256"], 2)
    assert rate > 0
    assert len(spent) == len(saves.CALLS) and all(seconds > 0 for seconds in spent)


@pytest.mark.parametrize("hinted", [False, True])
def test_processes_that_claim_together_get_every_batch_once(sqlite_url: str, hinted: bool) -> None:
    rate, middle, late, longest = claims.claimed(sqlite_url, ROOT, 2, 20, hinted=hinted)
    assert rate > 0
    assert 0 < middle <= late <= longest


def test_a_claim_that_comes_twice_is_an_error() -> None:
    claims.check([1, 2, 3], [3, 1, 2])
    for wrong in ([1, 2], [1, 2, 2], [1, 2, 3, 3]):
        with pytest.raises(RuntimeError, match="3 batches were there"):
            claims.check([1, 2, 3], wrong)


def test_the_stub_engine_serves_a_feeder() -> None:
    feeder = Feeder(InstantEngine(), Watchdog(60), Cores(shared=False), die=lambda: None)  # type: ignore[arg-type]
    intake = feeder.intake()
    intake.add(Request(key=i, prompt=f"p{i}", settings=SamplingSettings(), seed=7 * i) for i in range(300))
    feeder.start()
    results = [result for result in intake.results(patience=5) if isinstance(result, Completion)]
    assert {result.key: result.text for result in results} == {i: text_of(7 * i) for i in range(300)}


def test_the_stubs_stand_in_for_what_is_there() -> None:
    for module, (name, stub) in REPLACED.items():
        assert callable(getattr(import_module(module), name)), f"{module}.{name} is gone"
        assert callable(stub)
    assert list(signature(InstantClassifier.score).parameters) == list(signature(Classifier.score).parameters)
    texts = [text_of(seed) for seed in range(2000)]
    flagged = sum(bool(flag_reasons(scores_of(text), dict.fromkeys(scores_of(text), 0.7), ())) for text in texts)
    assert 50 < flagged < 150, "one in twenty"


def test_two_states_of_the_code_are_compared_round_by_round(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("saves", "processes", "outputs/s", "ms")
    for mine, other in ((100.0, 50.0), (300.0, 100.0), (80.0, 40.0)):
        table.add("one", "this", mine, 1.0)
        table.add("one", "the other", other, 2.0)
    table.print()
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[-2] == "| one | 100 (80–300) | 1 | this | 2.00 (2.00–3.00) |"
    assert lines[-1] == "| one | 50 (40–100) | 2 | the other | 1.00 (1.00–1.00) |"
