"""Row 3: `inkmill submit` killed in the middle, then the same command again, until it says that the job is in."""

from __future__ import annotations

import re
import signal
import subprocess
import time

from bench.chaos.prompts import MODEL, SAFETY, PromptFile
from bench.chaos.stack import COMMAND_SECONDS, INKMILL
from bench.chaos.trial import Row, Trial

POINTS = ("after-begin-submit", "before-write-chunk", "inside-write-chunk", "after-write-chunk",
          "before-finish-submit", "inside-finish-submit", "after-finish-submit", "before-publish", "after-publish",
          "inside-discard")  # fmt: skip
"""Where a producer dies in half of the cases; in the other half the clock says when."""
MAX_DELAY_SECONDS = 1.5
MAX_KILLS = 3
ALREADY = re.compile(r"already submitted with these settings, as job (\d+)")
"""How the command names the job that the same bytes are already."""


def attack(trial: Trial) -> None:
    kills, killed, seconds_to_submit = trial.size(25, 4), 0, list[float]()
    while killed < kills:
        file = trial.prompts(trial.size(9000, 2000), samples=(1, 2))
        seed = str(trial.job_seed())
        for _ in range(min(trial.random.randint(1, MAX_KILLS), kills - killed)):
            killed += _killed_submit(trial, file, seed)
        seconds_to_submit.append(_submit_to_the_end(trial, file, seed))
    trial.figure("producers killed", killed)
    trial.figure("files", len(seconds_to_submit))
    trial.figure("submitting again, s, longest", max(seconds_to_submit))
    ((jobs,),) = trial.stack.sql.query("SELECT count(*) FROM jobs")
    trial.check("one job for each file", int(jobs) == len(seconds_to_submit), f"{jobs} jobs")
    trial.judge(statuses=("queued",), ended=False)


def _command(file: PromptFile, seed: str) -> list[str]:
    return [*INKMILL, "submit", str(file.path), "--model", MODEL, "--safety", SAFETY, "--seed", seed]


def _killed_submit(trial: Trial, file: PromptFile, seed: str) -> bool:
    """Starts a submit and kills it. Returns whether it was still running."""
    stack, by_clock = trial.stack, trial.random.random() < 0.5
    point = trial.random.choice(POINTS)
    if not by_clock:
        stack.faults.arm(point, skip=trial.random.randint(0, 1))
    process = subprocess.Popen(
        _command(file, seed), env=stack.env, cwd=stack.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(trial.random.uniform(0, MAX_DELAY_SECONDS) if by_clock else COMMAND_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
    status = process.wait()
    stack.faults.disarm(point)
    return status == -signal.SIGKILL


def _submit_to_the_end(trial: Trial, file: PromptFile, seed: str) -> float:
    """The same command again; a job that was complete before the kill is refused, by its id. Returns the seconds."""
    started = time.monotonic()
    done = subprocess.run(
        _command(file, seed), env=trial.stack.env, cwd=trial.stack.folder, capture_output=True, text=True,
        timeout=COMMAND_SECONDS,
    )  # fmt: skip
    refused = ALREADY.search(done.stderr) if done.returncode == 2 else None
    if done.returncode not in (0, 2) or (done.returncode == 2 and refused is None):
        raise RuntimeError(f"submitting again ended with {done.returncode}:\n{done.stderr}")
    job = int(refused[1] if refused else done.stdout)
    trial.stack.ledger.acknowledge(job, file.outputs)
    return time.monotonic() - started


ROW = Row(
    number=3,
    fault="the producer killed while it submits 9,000 prompts, then the same command again; 25 times on each database",
    promise="exactly N prompts, one job",
    attack=attack,
)
