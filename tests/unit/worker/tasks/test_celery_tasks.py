"""What a message makes a worker do: claim, generate, score, and what becomes of faults."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

import pytest
from sqlalchemy import func, select
from structlog.testing import capture_logs

from contract.errors import DatabaseUnreachable
from contract.spec import JobStatus, Safety
from contract.tunings.folder import tuning_folder
from contract.tunings.order import TuningOrder
from db.jobs.jobs import cancel_job, pause_job, resume_job
from db.jobs.reflag import reflag_job
from db.jobs.status import snapshot
from db.models import Batch, Output, Prompt
from db.session.engine import Database
from db.tuning.tunings import NewTuning, find_tuning, insert_tuning
from db.work.claims import claim_generation, claim_scoring
from db.work.recovery import mark_death, sweep
from tests.unit.worker.conftest import StubClassifier
from tests.unit.worker.stub_engine import StubEngine
from worker.runtime import quarantine
from worker.runtime.runtime import Runtime
from worker.tasks import generate, score
from worker.tasks.celery_tasks import generate_task, score_task, tune_task

Submit = Callable[..., int]


def drain(runtime: Runtime, rounds: int = 20) -> None:
    """Delivers messages until nothing is left to claim."""
    for _ in range(rounds):
        generate_task(None)
        score_task(None)


def texts(database: Database) -> dict[tuple[str, int], str]:
    query = select(Prompt.prompt, Output.sample_index, Output.text).join(Output, Output.prompt_id == Prompt.id)
    with database.read() as connection:
        return {(row.prompt, row.sample_index): row.text for row in connection.execute(query)}


def test_messages_take_a_job_from_queued_to_completed(runtime: Runtime, submit: Submit, database: Database) -> None:
    job = submit(*(f"p{i}" for i in range(10)), n=3)
    drain(runtime)
    done = snapshot(database, job)
    assert (done.status, done.done, done.scored) == (JobStatus.COMPLETED, 10, 30)
    assert len(texts(database)) == 30


@pytest.mark.parametrize("hint", [None, 0, -5, 10**30, "1", True, [1], {"a": 1}, 1.5, 999999])
def test_any_hint_at_all_is_harmless(runtime: Runtime, submit: Submit, database: Database, hint: object) -> None:
    job = submit("a", "b")
    generate_task(hint)
    score_task(hint)
    assert snapshot(database, job).status == JobStatus.COMPLETED


def test_messages_with_nothing_to_claim_return(runtime: Runtime) -> None:
    generate_task(1)
    score_task(1)


def test_a_prompt_that_faults_is_tried_three_times_and_harms_no_other(
    runtime: Runtime, engine: StubEngine, submit: Submit, database: Database
) -> None:
    job = submit("good", "raise", "fine", n=2)
    drain(runtime)
    done = snapshot(database, job)
    assert (done.status, done.done, done.dead) == (JobStatus.COMPLETED, 2, 1)
    assert done.failures == {"cannot write on 'raise'": 1}
    assert {prompt for prompt, _ in texts(database)} == {"good", "fine"}


def test_one_line_is_logged_for_all_failing_prompts_of_a_batch(
    runtime: Runtime, engine: StubEngine, submit: Submit, database: Database
) -> None:
    job = submit("certain", "raise", "certain", "fine")
    with capture_logs() as logged:
        drain(runtime)
    assert snapshot(database, job).dead == 3
    (line,) = [one for one in logged if one["log_level"] == "warning"]
    assert (line["event"], line["prompts"], line["faults"]) == ("prompts failed", 3, 5)


def test_a_fault_that_is_certain_to_recur_ends_a_prompt_at_once(
    runtime: Runtime, engine: StubEngine, submit: Submit, database: Database
) -> None:
    job = submit("certain")
    drain(runtime)
    assert snapshot(database, job).dead == 1
    assert engine.seen.count("certain") == 1


def test_a_text_that_cannot_be_scored_is_flagged_unscored_and_its_neighbours_are_scored(
    runtime: Runtime, submit: Submit, database: Database
) -> None:
    job = submit("calm", "unscorable", "rude")
    with capture_logs() as logged:
        drain(runtime)
    (line,) = [one for one in logged if one["event"] == "texts could not be scored"]
    assert (line["texts"], line["error"]) == (1, "RuntimeError")
    done = snapshot(database, job)
    assert (done.status, done.scored, done.unscored, done.flagged) == (JobStatus.COMPLETED, 2, 1, 2)
    with database.read() as connection:
        row = connection.execute(select(Output).where(Output.safety == Safety.UNSCORED)).one()
    assert (row.flagged, row.flag_reasons) == (True, ["unscored"])


def test_without_a_classifier_generation_alone_completes_a_job(
    runtime: Runtime, submit: Submit, database: Database
) -> None:
    job = submit("a", "b", safety="none")
    generate_task(None)
    done = snapshot(database, job)
    assert (done.status, done.generated, done.scored) == (JobStatus.COMPLETED, 2, 0)


def test_a_job_cancelled_in_the_middle_stops_and_keeps_what_is_stored(
    runtime: Runtime, engine: StubEngine, submit: Submit, database: Database
) -> None:
    runtime.leases._seconds = 0.4
    job = submit(*(f"p{i}" for i in range(8)), batch_size=8)
    engine.gate.clear()
    task = threading.Thread(target=generate_task, args=(None,))
    task.start()
    time.sleep(0.3)
    cancel_job(database, job)
    time.sleep(0.5)
    engine.gate.set()
    task.join(10)
    drain(runtime)
    done = snapshot(database, job)
    assert done.status == JobStatus.CANCELLED
    assert done.done + done.cancelled == 8


def test_a_job_paused_in_the_middle_is_given_back_and_completed_after_the_resume(
    runtime: Runtime, engine: StubEngine, submit: Submit, database: Database
) -> None:
    job = submit(*(f"p{i}" for i in range(8)), batch_size=8)
    engine.gate.clear()
    task = threading.Thread(target=generate_task, args=(None,))
    task.start()
    while not runtime.leases.held:
        time.sleep(0.01)
    pause_job(database, job)
    runtime.leases._renew()  # as its thread does every quarter of a lease
    engine.gate.set()
    task.join(10)
    drain(runtime)
    assert snapshot(database, job).status == JobStatus.PAUSED
    resume_job(database, job)
    drain(runtime)
    done = snapshot(database, job)
    assert (done.status, done.done, done.cancelled) == (JobStatus.COMPLETED, 8, 0)


def test_a_worker_told_to_stop_discards_no_finished_text(
    runtime: Runtime, engine: StubEngine, submit: Submit, database: Database
) -> None:
    submit(*(f"p{i}" for i in range(160)), batch_size=160)
    engine.closes_at = 80
    task = threading.Thread(target=generate_task, args=(None,))
    task.start()
    while not engine.seen:
        time.sleep(0.001)
    with database.write():  # a save has to wait, and finished texts pile up behind it
        while len(engine.seen) < 80:
            time.sleep(0.001)
        runtime.stopping.set()
    deadline = time.monotonic() + 5
    while runtime.feeder._commands.empty() and time.monotonic() < deadline:  # until it takes back what is only begun
        time.sleep(0.001)
    engine.closes_at = None
    engine.gate.set()
    task.join(10)
    assert len(texts(database)) == len(engine.seen) < 160


def test_a_worker_told_to_stop_saves_what_it_has_and_gives_the_rest_back(
    runtime: Runtime, engine: StubEngine, submit: Submit, database: Database
) -> None:
    submit(*(f"p{i}" for i in range(200)), batch_size=200)
    task = threading.Thread(target=generate_task, args=(None,))
    task.start()
    while not engine.seen:
        time.sleep(0.01)
    engine.gate.clear()
    runtime.stopping.set()
    engine.gate.set()
    task.join(10)
    assert not task.is_alive()
    with database.read() as connection:
        batch = connection.execute(select(Batch)).one()
    assert (batch.status, batch.lease_token, batch.deaths) == ("pending", None, 0)
    assert batch.generated == len(texts(database)) > 0


def test_a_suspect_runs_with_nothing_beside_it(
    runtime: Runtime, engine: StubEngine, submit: Submit, database: Database
) -> None:
    submit("suspect", batch_size=1)
    dead = claim_generation(database, runtime.ability, 60)
    assert dead is not None
    mark_death(database, runtime.worker, "was killed")
    job = submit(*(f"p{i}" for i in range(40)), batch_size=4)
    threads = [threading.Thread(target=drain, args=(runtime, 12)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    drain(runtime)
    assert snapshot(database, job).status == JobStatus.COMPLETED
    assert engine.most_beside["suspect"] == 0
    assert max(engine.most_beside.values()) > 0


def test_a_suspect_gets_its_turn_even_if_work_never_runs_out(
    runtime: Runtime, engine: StubEngine, submit: Submit, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    suspect = submit("suspect", batch_size=1)
    claim_generation(database, runtime.ability, 60)
    mark_death(database, runtime.worker, "was killed")
    submit(*(f"p{i}" for i in range(40)), batch_size=1)
    for _ in range(5):
        generate_task(None)
    assert "suspect" not in engine.seen, "it waits while there is other work"
    monkeypatch.setattr(quarantine, "SUSPECTS_SECONDS", 0.0)
    runtime.turns = quarantine.Turns()
    for _ in range(3):
        generate_task(None)
    assert "suspect" in engine.seen
    claim_scoring(database, runtime.ability, 60, hint=claimable(database, suspect))
    mark_death(database, runtime.worker, "was killed")
    for _ in range(3):
        score_task(None)
    assert snapshot(database, suspect).status == JobStatus.COMPLETED
    with database.read() as connection:
        assert connection.scalar(select(func.count()).where(Batch.status == "pending")) > 20


def claimable(database: Database, job: int) -> int:
    with database.read() as connection:
        return connection.execute(select(Batch.id).where(Batch.job_id == job)).scalar_one()


@pytest.mark.parametrize(("prompt", "tries"), [("raise", 3), ("unscorable", 3)])
def test_a_lost_answer_of_the_database_does_not_count_a_fault_twice(
    runtime: Runtime, engine: StubEngine, classifier: StubClassifier, submit: Submit, database: Database,
    monkeypatch: pytest.MonkeyPatch, prompt: str, tries: int,
) -> None:  # fmt: skip
    def losing(counting: Callable[..., object]) -> Callable[..., object]:
        answered: list[int] = []

        def count(*args: object, **kwargs: object) -> object:
            found = counting(*args, **kwargs)
            answered.append(1)
            if len(answered) % 2:
                raise DatabaseUnreachable("the server was killed before it answered")
            return found

        return count

    monkeypatch.setattr(generate, "record_fault", losing(generate.record_fault))
    monkeypatch.setattr(score, "count_scoring_attempt", losing(score.count_scoring_attempt))
    job = submit(prompt)
    drain(runtime, 3)
    done = snapshot(database, job)
    assert (done.dead, done.unscored) == ((1, 0) if prompt == "raise" else (0, 1))
    assert max(engine.seen.count("raise"), len(classifier.groups) - 1) == tries


def test_all_scoring_is_computed_by_one_thread(
    runtime: Runtime, classifier: StubClassifier, submit: Submit, database: Database
) -> None:
    job = submit(*(f"p{i}" for i in range(12)))
    for _ in range(3):
        generate_task(None)
    for _ in range(3):
        task = threading.Thread(target=score_task, args=(None,))
        task.start()
        task.join(30)
    assert len(classifier.groups) == 3
    assert len(classifier.threads) == 1
    assert snapshot(database, job).status == JobStatus.COMPLETED


def test_a_suspects_texts_are_scored_one_by_one_with_the_charge_committed_first(
    runtime: Runtime, classifier: StubClassifier, submit: Submit, database: Database
) -> None:
    job = submit("a", "b", "c")
    generate_task(None)
    assert claim_scoring(database, runtime.ability, 60) is not None
    mark_death(database, runtime.worker, "was killed")
    score_task(None)
    assert classifier.groups == [1, 1, 1]
    done = snapshot(database, job)
    assert (done.status, done.scored, done.unscored) == (JobStatus.COMPLETED, 3, 0)


def test_a_stale_worker_stores_nothing_and_its_batch_is_completed_by_another(
    runtime: Runtime,
    make_runtime: Callable[..., Runtime],
    engine: StubEngine,
    classifier: StubClassifier,
    submit: Submit,
    database: Database,
) -> None:

    job = submit(*(f"p{i}" for i in range(6)), batch_size=6)
    engine.gate.clear()
    runtime.leases.stop()
    stale = threading.Thread(target=generate_task, args=(None,))
    stale.start()
    time.sleep(0.3)
    with database.write() as connection:  # its lease runs out
        connection.exec_driver_sql("UPDATE batches SET lease_until = 0")
    assert sweep(database) == 1
    second = make_runtime(StubEngine(), classifier, worker="w2")
    from worker.tasks import celery_tasks

    celery_tasks.serve(second)
    generate_task(None)
    engine.gate.set()
    stale.join(10)
    assert len(texts(database)) == 6
    score_task(None)
    assert snapshot(database, job).status == JobStatus.COMPLETED
    second.stopping.set()


def test_the_same_prompts_give_the_same_seeds_whatever_the_batches(
    runtime: Runtime, submit: Submit, database: Database
) -> None:
    submit("a", "b", "c", n=2, batch_size=1)
    drain(runtime)
    first = texts(database)
    with database.write() as connection:
        for table in ("scores", "outputs", "prompts", "batches", "jobs"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    submit("a", "b", "c", n=2, batch_size=3)
    drain(runtime)
    assert texts(database) == first


def test_a_batch_that_fails_for_an_unknown_reason_is_not_claimed_again_at_once(
    runtime: Runtime, submit: Submit, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    def broken(*_: object) -> None:
        attempts.append(1)
        raise ZeroDivisionError

    monkeypatch.setattr(generate, "incomplete_prompts", broken)
    submit("a")
    drain(runtime)
    assert len(attempts) == 1
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE batches SET lease_until = 0")
    assert sweep(database) == 1
    drain(runtime)
    assert len(attempts) == 2


def test_a_blocklist_that_changes_while_texts_are_scored_flags_all_of_them(
    runtime: Runtime, classifier: StubClassifier, submit: Submit, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit("calm turnip", "calm sea", safety="demo")
    generate_task(None)
    score = classifier.score

    def meanwhile(texts: list[str], after_batch: Callable[[], None] | None = None) -> list[dict[str, float]]:
        reflag_job(database, job, thresholds={"toxicity": 0.05}, blocklist=("turnip",))
        return score(texts, after_batch)

    monkeypatch.setattr(classifier, "score", meanwhile)
    score_task(None)
    with database.read() as connection:
        reasons = connection.scalars(select(Output.flag_reasons).order_by(Output.id)).all()
    assert reasons == [["toxicity", "blocklist:turnip"], ["toxicity"]]


def test_a_batch_is_not_done_if_the_engine_lost_a_request(
    runtime: Runtime, engine: StubEngine, submit: Submit, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from worker.runtime.engine_thread import Intake

    job = submit("a", "b")
    monkeypatch.setattr(Intake, "results", lambda self, patience: iter(()))
    generate_task(None)
    assert snapshot(database, job).done == 0
    monkeypatch.undo()
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE batches SET lease_until = 0")
    sweep(database)
    drain(runtime)
    assert snapshot(database, job).status == JobStatus.COMPLETED


def test_a_tuning_that_waits_ends_the_process_with_the_model_in_order(
    runtime: Runtime, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals: list[int] = []
    monkeypatch.setattr("worker.runtime.runtime.os.kill", lambda _, number: signals.append(number))
    tune_task(7)
    assert not signals, "nothing waits"
    order = TuningOrder(name="tales", base="demo").to_json()
    insert_tuning(database, NewTuning(name="tales", base="demo", order=order, folder="work"))
    tune_task(1)
    assert not signals, "its corpus is on another machine"
    (tuning_folder(runtime.config.models_folder, "work") / "corpus").mkdir(parents=True)
    tune_task(1)
    assert signals == [signal.SIGTERM] and runtime.makes_way
    assert find_tuning(database, 1).worker == runtime.worker, "no second worker makes way for it"
