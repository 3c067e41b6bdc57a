"""What a job waits for, in words that end with the command to type."""

from __future__ import annotations

import shlex

from contract.policy import NO_SAFETY
from contract.spec import JobStatus
from db.claims import ALIKE
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


def worker_command(job: JobSnapshot) -> str:
    """The command that starts a worker for a job."""
    words = ["inkmill", "worker", "--model", job.model]
    for name, value in (("--device", job.device), ("--dtype", job.served_dtype or job.dtype)):
        words += [name, value] if value != "auto" else []
    words += ["--threads", str(job.served_threads)] if job.served_threads else []
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
    wanted = _began_with(job) if job.served_revision else "its device and dtype"
    return (
        f"a worker with {wanted} of model {job.model} (the workers there differ{_in_what(job, with_model)}); "
        f"start one: {worker_command(job)}, or take any: inkmill retry {job.id} --any-worker"
    )


def _fits(job: JobSnapshot, worker: WorkerRow) -> bool:
    return (
        worker.state == "ready"
        and job.device in ("auto", worker.device, worker.device.partition(":")[0])
        and job.dtype in ("auto", worker.dtype)
        and not _unlike(job, worker)
    )


def _unlike(job: JobSnapshot, worker: WorkerRow) -> list[str]:
    """In what a worker is not like the one that began a job."""
    return [name for name in ALIKE if getattr(job, f"served_{name}") not in (None, getattr(worker, name))]


def _began_with(job: JobSnapshot) -> str:
    said = [f"revision {job.served_revision}", f"dtype {job.served_dtype}"]
    said += [f"engine {job.served_engine}"] if job.served_engine else []
    said += [f"{job.served_threads} threads"] if job.served_threads else []
    return ", ".join(said + ([f"numerics {job.served_numerics}"] if job.served_numerics else []))


def _in_what(job: JobSnapshot, workers: list[WorkerRow]) -> str:
    names = [name for name in ALIKE if any(name in _unlike(job, worker) for worker in workers)]
    return f" in {' and '.join(names)}" if names else ""


def _for_classifier(job: JobSnapshot, alive: list[WorkerRow]) -> str | None:
    if any(worker.scores(job.safety, job.served_classifier_revision) for worker in alive):
        return None
    if any(worker.scores(job.safety, None) for worker in alive):
        return (
            f"a worker that scores with revision {job.served_classifier_revision} of {job.safety}, as this job's other "
            "texts were scored (the workers there have another); score the rest with theirs: "
            f"inkmill retry {job.id} --any-worker, or all texts again: inkmill rescore {job.id}"
        )
    why = next((worker.error for worker in alive if worker.error and repr(job.safety) in worker.error), None)
    reason = f" ({why})" if why else ""
    or_else = f", or end it without scores: inkmill cancel {job.id}" if job.status is JobStatus.CANCELLING else ""
    return f"a worker that scores with {job.safety}{reason}; start one: {worker_command(job)}{or_else}"
