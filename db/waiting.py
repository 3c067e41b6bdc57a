"""What a job waits for, in words that end with the command to type."""

from __future__ import annotations

import shlex

from contract.policy import NO_SAFETY
from db.session import Database
from db.status import JobSnapshot
from db.workers import WorkerRow, list_workers


def waiting_for(database: Database, job: JobSnapshot) -> str | None:
    """What keeps a job from going on; None where it goes on, or is over."""
    if job.finished or job.in_hand or not (job.to_generate or job.to_score):
        return None
    alive = [worker for worker in list_workers(database) if worker.alive]
    if job.to_generate:
        return _for_model(job, alive)
    return _for_classifier(job, alive)


def served(database: Database, job: JobSnapshot) -> bool:
    """Whether workers that are ready can do all that is left of a job."""
    ready = [worker for worker in list_workers(database) if worker.alive and worker.state == "ready"]
    generates = not job.to_generate or any(worker.model == job.model and _fits(job, worker) for worker in ready)
    return generates and (job.safety == NO_SAFETY or any(job.safety in worker.classifiers for worker in ready))


def worker_command(job: JobSnapshot) -> str:
    """The command that starts a worker for a job."""
    words = ["inkmill", "worker", "--model", job.model]
    for name, value in (("--device", job.device), ("--dtype", job.served_dtype or job.dtype)):
        words += [name, value] if value != "auto" else []
    words += ["--safety", job.safety] if job.safety != NO_SAFETY else []
    return shlex.join(words)


def _for_model(job: JobSnapshot, alive: list[WorkerRow]) -> str | None:
    with_model = [worker for worker in alive if worker.model == job.model]
    if not with_model:
        return f"a worker that serves model {job.model}; start one: {worker_command(job)}"
    if all(worker.state == "starting" for worker in with_model):
        return f"the worker for model {job.model}: it is loading"
    fitting = [worker for worker in with_model if _fits(job, worker)]
    if fitting:
        return None
    served = (
        f"revision {job.served_revision}, dtype {job.served_dtype}" if job.served_revision else "its device and dtype"
    )
    return (
        f"a worker with {served} of model {job.model} (the workers there differ); "
        f"start one: {worker_command(job)}, or take any: inkmill retry {job.id} --any-worker"
    )


def _fits(job: JobSnapshot, worker: WorkerRow) -> bool:
    return (
        worker.state == "ready"
        and job.device in ("auto", worker.device, worker.device.partition(":")[0])
        and job.dtype in ("auto", worker.dtype)
        and job.served_revision in (None, worker.revision)
        and job.served_dtype in (None, worker.dtype)
    )


def _for_classifier(job: JobSnapshot, alive: list[WorkerRow]) -> str | None:
    if any(job.safety in worker.classifiers for worker in alive):
        return None
    why = next((worker.error for worker in alive if worker.error and repr(job.safety) in worker.error), None)
    reason = f" ({why})" if why else ""
    return f"a worker that scores with {job.safety}{reason}; start one: {worker_command(job)}"
