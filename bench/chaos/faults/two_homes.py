"""Row 18: two homes on one database, one of which cannot load the model; a cancel from where no process can be seen."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.chaos.home import OwnHome, newest_job, wait_until_submitted
from bench.chaos.prompts import MODEL, SAFETY
from bench.chaos.stack import COMMAND_SECONDS, INKMILL, LEASE_SECONDS
from bench.chaos.trial import Row, Trial

HUB_ID = "nobody/tales"
DEMO = Path(__file__).parents[3] / "worker" / "demo" / "gpt2"
UNREACHABLE, WRONG_USE = 4, 2
HELD_POINT = "before-finish-submit"
OTHER_NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc")


def attack(trial: Trial) -> None:
    owner, stranger = (OwnHome(trial, name) for name in ("owner", "stranger"))
    _lay_model(Path(owner.env["HF_HUB_CACHE"]))
    try:
        for _ in range(trial.size(5, 1)):
            _strange_stack(trial, owner, stranger)
    finally:
        owner.stop()
        stranger.stop()
    unseen = _unseen()
    trial.figure("cancelled from", "another PID namespace" if unseen else "the same PID namespace: unshare may not")
    for _ in range(trial.size(10, 2)):
        _cancelled_submit(trial, unseen)
    trial.judge(statuses=("completed", "queued"), ended=False, scored=False)


def _lay_model(cache: Path) -> None:
    """The demonstration model as if it had been fetched from the Hub: for this home alone."""
    cached = cache / "models--nobody--tales"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc")
    shutil.copytree(DEMO, cached / "snapshots" / "abc")


def _strange_stack(trial: Trial, owner: OwnHome, stranger: OwnHome) -> None:
    """Both homes run the same file; the second cannot load its model while the first one works on it."""
    file, before = trial.prompts(trial.size(6200, 2000)), newest_job(trial)
    words = ("run", str(file.path), "--model", HUB_ID, "--safety", SAFETY, "--seed", str(trial.job_seed()))
    run, log = owner.start(*words, "-o", f"{file.path}.owner.jsonl")
    with owner.slowed_job(before, run) as job:
        refused = stranger.inkmill(*words, "-o", f"{file.path}.stranger.jsonl")
        status = trial.job_status(job)
    left_alone = refused.returncode == UNREACHABLE and "is left alone" in refused.stderr
    message = "" if left_alone else f"{refused.returncode}: {refused.stderr[-300:]}"
    trial.check("a stack that cannot load the model says so and leaves the job alone", left_alone, message)
    trial.check("the job went on meanwhile", status == "running", status)
    well = run.wait(COMMAND_SECONDS) == 0
    trial.check("its own run ends well", well, "" if well else log.read_text()[-300:])
    trial.check("the job is completed", trial.job_status(job) == "completed", trial.job_status(job))
    trial.stack.ledger.acknowledge(job, file.outputs)


def _unseen() -> Sequence[str]:
    """What starts a command where it sees no process of ours; nothing where that is not allowed here."""
    try:
        subprocess.run([*OTHER_NAMESPACE, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return ()
    return OTHER_NAMESPACE


def _cancelled_submit(trial: Trial, unseen: Sequence[str]) -> None:
    """A submit that writes nothing for longer than a lease is cancelled from where its process cannot be seen."""
    stack, before = trial.stack, newest_job(trial)
    file = trial.prompts(trial.size(6200, 1500))
    words = ["submit", str(file.path), "--model", MODEL, "--safety", SAFETY, "--seed", str(trial.job_seed())]
    stack.faults.arm(HELD_POINT, "sleep", str(LEASE_SECONDS + trial.random.uniform(6, 8)))
    submit = subprocess.Popen(
        [*INKMILL, *words], env=stack.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    job = wait_until_submitted(trial, before)
    stack.faults.wait_for(HELD_POINT, COMMAND_SECONDS)
    cancel = subprocess.run(
        [*unseen, *INKMILL, "cancel", str(job)], env=stack.env, capture_output=True, text=True, timeout=COMMAND_SECONDS
    )
    refused = cancel.returncode == WRONG_USE and "is still being submitted" in cancel.stderr
    output = "" if refused else f"{cancel.returncode}: {cancel.stderr[-200:]}"
    trial.check("a cancel of a live submit is refused", refused, output)
    out, message = submit.communicate(timeout=COMMAND_SECONDS)
    well = out.strip() == str(job)
    trial.check("and the submit ends well", well, "" if well else message[-300:])
    stack.ledger.acknowledge(job, file.outputs)


ROW = Row(
    number=18,
    fault="two homes on one database, one of which cannot load the model and runs the other's file, 5 times; 10 "
    "submits that write nothing for longer than a lease, each cancelled from another PID namespace",
    promise="the other home's job goes on to its end, and so does each submit; 0 lost, 0 double",
    attack=attack,
)
