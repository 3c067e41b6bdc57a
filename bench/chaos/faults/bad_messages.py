"""Row 7: messages lost, delivered five times, forged, malformed and hostile."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

from bench.chaos.forger import Forger
from bench.chaos.load import Load
from bench.chaos.messages import kinds
from bench.chaos.stack import ROOT
from bench.chaos.trial import Row, Trial

QUEUES = ("generate.demo", "score.demo")
DELIVERIES, MAX_ROUNDS = 5, 20
RETURN_SECONDS = 30.0


def attack(trial: Trial) -> None:
    load = Load(trial, trial.size(4600, 1600), workers=trial.size(2, 1))
    sign = trial.stack.folder / "executed"
    forger = Forger(trial.stack.redis.client(), sign)
    _lose(trial, load, forger, trial.size(8, 2))
    _repeat(trial, load, forger, trial.size(6, 1))
    children = trial.stack.children()
    _plant(trial, load, forger, sign)
    _spoil(trial, load)
    load.finish()
    trial.check("no process ended over a message", trial.stack.children() == children)
    trial.check("nothing that was planted was executed", not sign.exists())
    load.judge()


def _lose(trial: Trial, load: Load, forger: Forger, seconds: float) -> None:
    """Every message that lies in a queue is lost for so long."""
    with forger.thieves(QUEUES) as stolen:
        load.run_for(seconds)
        claimed = trial.claimed()
        load.run_for(seconds)
        claimed = trial.claimed() - claimed
    trial.figure("messages lost", len(stolen))
    trial.figure("batches that were claimed all the same", claimed)
    trial.check("nearly every message was lost", claimed <= len(stolen) / 10)
    load.sustain()
    wait = load.seconds_until_progress(2 * RETURN_SECONDS, load.sustain, trial.claimed)
    trial.figure("goes on after, s", wait)
    trial.check(f"work goes on within {RETURN_SECONDS:.0f} s of the last loss", wait <= RETURN_SECONDS)


def _repeat(trial: Trial, load: Load, forger: Forger, times: int) -> None:
    """Messages are delivered five times each, under load."""
    delivered = rounds = 0
    while rounds < times or (not delivered and rounds < MAX_ROUNDS):
        load.sustain()
        delivered += forger.repeat(QUEUES, DELIVERIES, seconds=1)
        load.run_for(1)
        rounds += 1
    trial.figure("deliveries, five of each message", delivered)
    trial.check("messages were delivered five times", delivered > 0)


def _plant(trial: Trial, load: Load, forger: Forger, sign: Path) -> None:
    """Forged, malformed and hostile messages in front of the honest ones, and control messages, under load."""
    pushed, errors = 0, trial.stack.errors()
    for _ in range(trial.size(3, 1)):
        for queue in QUEUES:
            for messages in kinds(trial.random, sign).values():
                load.sustain()
                pushed += forger.push(queue, messages)
        forger.command()
    trial.figure("forged, malformed and hostile messages", pushed)
    deadline = time.monotonic() + 120
    while forger.queues() and time.monotonic() < deadline:
        time.sleep(0.2)
    raised = trial.stack.errors() - errors
    trial.check("nothing was raised over them", not raised, f"{raised}" if raised else "")
    trial.check("stock Celery still hears from the worker", _answers(trial))


def _answers(trial: Trial) -> bool:
    name = f"inkmill-{trial.stack.ready()[0].pid}@{socket.gethostname()}"
    words = ["--app", "contract.queue", "--quiet", "inspect", "--destination", name, "--timeout", "30", "ping"]
    done = subprocess.run(
        [sys.executable, "-m", "celery", *words], env=trial.stack.env, cwd=ROOT, capture_output=True, text=True
    )
    return "pong" in done.stdout


def _spoil(trial: Trial, load: Load) -> None:
    """What should be a list is a text for a while: Redis answers every command about it with an error."""
    client = trial.stack.redis.client()
    load.sustain()
    load.submit_another()
    for queue in QUEUES:
        client.set(queue, "no list")
    time.sleep(trial.size(10, 3))
    client.delete(*QUEUES)
    wait = load.seconds_until_progress(2 * RETURN_SECONDS, load.sustain, trial.claimed)
    trial.check(
        f"work goes on within {RETURN_SECONDS:.0f} s of a spoilt queue", wait <= RETURN_SECONDS, f"{wait:.1f} s"
    )


ROW = Row(
    number=7,
    fault="messages lost, all but a few; messages delivered five times; forged, malformed and hostile messages "
    "(pickle, YAML, 16 MB, 100,000 levels, a compressed quarter of a gigabyte, control commands)",
    promise="0 lost, 0 double, no crash, nothing executed",
    attack=attack,
    databases=("sqlite",),
)
