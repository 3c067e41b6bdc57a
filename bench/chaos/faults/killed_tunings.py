"""Row 22: a tuning whose training process, worker, or both are killed at random, while a job waits for that worker."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from bench.chaos.prompts import MODEL
from bench.chaos.stack import Worker, is_running
from bench.chaos.trial import Row, Trial

WORKERS = 1
TRAINING = "worker.tuning.main"
PAUSES = (1.0, 12.0)
"""Seconds between two kills: a training process needs some of them to load, and some for a step."""
TUNING_SECONDS = 1800.0
WHO = ("The captain", "A sailor", "My aunt", "The miller", "An old dog", "Nobody")
DID = ("walked to", "dreamt of", "sang about", "lost", "found", "sold")
WHAT = ("the harbour", "a red kite", "the last train", "the mill", "her letters", "an umbrella")


def attack(trial: Trial) -> None:
    stack, kills = trial.stack, trial.size(20, 3)
    corpus = _write_corpus(trial)
    stack.ensure_workers(WORKERS)
    stack.wait_until_ready(WORKERS)
    calm = _wait_until_over(trial, _order(trial, corpus, "calm"))
    job = trial.submit(trial.prompts(trial.size(6000, 600)))
    tuning = _order(trial, corpus, "hurried")
    done = _kill_at_random(trial, tuning, kills)
    disturbed = _wait_until_over(trial, tuning)
    trial.check(f"{kills} kills while it trained", done == kills, f"{done}" if done != kills else "")
    for name, status in (("undisturbed", calm), ("disturbed", disturbed)):
        trial.check(f"the {name} tuning has its model", bool(status["model"]), str(status["error"] or ""))
    same = _weights(trial, calm) == _weights(trial, disturbed)
    trial.check("the weights are those of an undisturbed run, to the bit", same)
    ((models,),) = stack.sql.query("SELECT count(*) FROM models")
    trial.check("two models are recorded", models == 2, f"{models}")
    trial.wait_until_over(job, workers=WORKERS)
    trial.judge()


def _write_corpus(trial: Trial) -> Path:
    """Some hundred short documents, the same ones for the same seed."""
    draw = trial.random.choice
    documents = [" ".join(f"{draw(WHO)} {draw(DID)} {draw(WHAT)}." for _ in range(12)) for _ in range(300)]
    path = trial.stack.folder / "corpus.txt"
    path.write_text("\n\n".join(documents))
    return path


def _order(trial: Trial, corpus: Path, name: str) -> str:
    steps = str(trial.size(300, 40))
    words = ["--paragraphs", "--base", MODEL, "--name", name, "--steps", steps, "--seed", "7", "--threads", "1"]
    return trial.stack.inkmill("tune", str(corpus), *words, "--patience", "0", "--detach").strip()


def _kill_at_random(trial: Trial, tuning: str, kills: int) -> int:
    """Returns how many there were."""
    done, names = 0, []
    while done < kills and not _over(trial, tuning):
        trial.stack.ensure_workers(WORKERS)
        time.sleep(trial.random.uniform(*PAUSES))
        training = [worker for worker in trial.stack.workers if _training_process(worker) is not None]
        if training:
            names.append(_kill(trial, trial.random.choice(training)))
            done += 1
    for name in sorted(set(names)):
        trial.figure(f"killed: {name}", names.count(name))
    trial.stack.ensure_workers(WORKERS)
    return done


def _training_process(worker: Worker) -> psutil.Process | None:
    child = worker.child
    with suppress(psutil.Error):
        return child if child is not None and TRAINING in child.cmdline() else None
    return None


def _kill(trial: Trial, worker: Worker) -> str:
    """kill -9 on what trains, its worker, or both. Returns which."""
    training, parent = _training_process(worker), psutil.Process(worker.parent.pid)
    name = trial.random.choice(("what trains", "its worker", "both"))
    victims = {"what trains": [training], "its worker": [parent], "both": [parent, training]}[name]
    for victim in victims:
        if victim is not None and is_running(victim):
            with suppress(psutil.NoSuchProcess):
                victim.kill()
    return name


def _status(trial: Trial, tuning: str) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(trial.stack.inkmill("status", tuning, "--json"))
    return status


def _over(trial: Trial, tuning: str) -> bool:
    return _status(trial, tuning)["status"] in ("completed", "failed", "cancelled", "paused")


def _wait_until_over(trial: Trial, tuning: str) -> dict[str, Any]:
    """Waits, and sees to it that a worker's parent lives. Returns how it ended.

    Raises:
        TimeoutError: it does not end.
    """
    deadline = time.monotonic() + TUNING_SECONDS
    while not _over(trial, tuning):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{tuning} did not end: {_status(trial, tuning)}")
        trial.stack.ensure_workers(WORKERS)
        time.sleep(1.0)
    return _status(trial, tuning)


def _weights(trial: Trial, status: dict[str, Any]) -> str:
    """The digest of a model's weights."""
    folder = trial.stack.folder / "home" / "models" / str(status["name"])
    files = sorted(folder.glob("*.safetensors"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest() if files else f"none in {folder}"


ROW = Row(
    number=22,
    fault="a tuning under 20 kills on each database, at random: of what trains, of its worker, of both; a job waits "
    "for that worker",
    promise="the weights of an undisturbed run, to the bit; one model, recorded once; the job: 0 lost, 0 double",
    attack=attack,
)
