"""What a job is waiting for, in words that end with the command to type."""

from __future__ import annotations

import shlex
from typing import Protocol

from common.times import duration_range
from contract.policy import NO_SAFETY
from contract.spec import JobStatus
from db.jobs.ingest_lease import is_abandoned
from db.jobs.status import JobSnapshot
from db.session.engine import Database
from db.tuning.tunings import unfinished_tunings
from db.tuning.waiting import describe_running
from db.work.claims import MUST_MATCH
from db.work.workers import TUNING, WorkerRow, list_workers

UNTAKEN_SECONDS = 10.0
"""After this long, a job that nobody has taken is not just about to be."""


class Around(Protocol):
    """What is known apart from the database: `contract.waiting.surroundings`."""

    @property
    def redis(self) -> str | None:
        """Redis and why it takes no messages; None if it does."""

    def starts_worker_for(self, job: JobSnapshot) -> bool:
        """Whether a worker for it is started automatically."""


def waiting_for(database: Database, job: JobSnapshot, around: Around | None = None) -> str | None:
    """What keeps a job from going on; None if it is going on, or has finished.

    Args:
        around: what is known apart from the database; None = nothing.
    """
    if job.status == JobStatus.PAUSED:
        return f"somebody to resume it, because it is paused: inkmill resume {job.id}"
    if job.finished or job.in_hand:
        return None
    if job.status == JobStatus.INGESTING:
        return _for_producer(database, job)
    if not (job.to_generate or job.to_score):
        return None
    workers = list_workers(database)
    training = _who_trains(database, job, workers)
    if training:
        return training
    brought = around is not None and around.starts_worker_for(job)
    worker = _for_model(job, workers, brought) if job.to_generate else _for_classifier(job, workers, brought)
    redis = None if around is None else around.redis
    return "; and for ".join(reason for reason in (redis, worker) if reason) or _for_its_turn(job, workers)


def _who_trains(database: Database, job: JobSnapshot, workers: list[WorkerRow]) -> str | None:
    """What a job waits for whose only workers train: they write, or score, when that is done."""
    alive = [worker for worker in workers if worker.alive]
    writers = [worker for worker in alive if worker.model == job.model] if job.to_generate else []
    scorers = [worker for worker in alive if worker.scores(job.safety, None)] if job.to_score else []
    busy = next((some[0] for some in (writers, scorers) if some and all(one.state == TUNING for one in some)), None)
    if busy is None:
        return None
    tuning = next((one for one in unfinished_tunings(database) if one.worker == busy.id), None)
    what = describe_running(tuning) if tuning else "a model"
    left = ((tuning.progress or {}).get("left") if tuning else None) or None
    until = f", for {duration_range(left[0], left[2])} more" if left else ""
    return (
        f"the worker that serves it (process {busy.pid} on {busy.host}): it trains {what}{until}; start another one: "
        f"{worker_command(job)}"
    )


def _for_its_turn(job: JobSnapshot, workers: list[WorkerRow]) -> str | None:
    """A job that ready workers serve and that none has taken for a while."""
    ready = [worker for worker in workers if worker.alive and worker.state == "ready" and worker.model == job.model]
    if job.started_at is not None or job.now - job.created_at < UNTAKEN_SECONDS or not ready:
        return None
    return (
        f"its turn: the worker that serves it (process {ready[0].pid} on {ready[0].host}) has not taken it yet; it "
        "works on other jobs, or its log says why it hears nothing"
    )


def _for_producer(database: Database, job: JobSnapshot) -> str:
    if is_abandoned(database, job.id):
        return (
            "the command that submitted it, which was killed before it had finished; submit the file again, "
            f"or remove what it left: inkmill cancel {job.id}"
        )
    return "the command that submits it; the work starts when that has finished"


def ready_workers_suffice(database: Database, job: JobSnapshot) -> bool:
    """Whether the ready workers can do all that is left of a job."""
    ready = [worker for worker in list_workers(database) if worker.alive and worker.state == "ready"]
    generates = not job.to_generate or any(worker.model == job.model and _fits(job, worker) for worker in ready)
    scores = any(worker.scores(job.safety, job.served_classifier_revision) for worker in ready)
    return generates and (job.safety == NO_SAFETY or scores)


def worker_command(job: JobSnapshot) -> str:
    """The command that starts a worker for a job."""
    words = ["inkmill", "worker", "--model", job.model]
    for name, value in (("--device", job.device), ("--dtype", job.served_dtype or job.dtype)):
        words += [name, value] if value != "auto" else []
    words += ["--threads", str(job.served_threads)] if job.served_threads else []
    words += ["--safety", job.safety] if job.safety != NO_SAFETY else []
    return shlex.join(words)


def _for_model(job: JobSnapshot, workers: list[WorkerRow], brought: bool) -> str | None:
    with_model = [worker for worker in workers if worker.model == job.model]
    alive = [worker for worker in with_model if worker.alive]
    if all(worker.state == "starting" for worker in alive):
        return _until_started(job, with_model, loading=bool(alive), brought=brought)
    fitting = [worker for worker in alive if _fits(job, worker)]
    if fitting:
        return None
    wanted = _began_with(job) if job.served_revision else "its device and dtype"
    return (
        f"a worker with {wanted} for model {job.model} (the running ones differ{_in_what(job, alive)}); "
        f"start one: {worker_command(job)}, or accept any: inkmill retry {job.id} --any-worker"
    )


def _until_started(job: JobSnapshot, with_model: list[WorkerRow], *, loading: bool, brought: bool) -> str:
    before = next((worker for worker in with_model if worker.state != "starting"), None)
    why = f" (the previous one: {before.error})" if before is not None and before.error else ""
    if brought:
        return f"its worker, which is starting{why}"
    if loading:
        return f"the worker for model {job.model}: it is loading{why}"
    return f"a worker that serves model {job.model}{why}; start one: {worker_command(job)}"


def _fits(job: JobSnapshot, worker: WorkerRow) -> bool:
    return (
        worker.state == "ready"
        and job.device in ("auto", worker.device, worker.device.partition(":")[0])
        and job.dtype in ("auto", worker.dtype)
        and not _unlike(job, worker)
    )


def _unlike(job: JobSnapshot, worker: WorkerRow) -> list[str]:
    """How a worker differs from the one that began a job."""
    return [name for name in MUST_MATCH if getattr(job, f"served_{name}") not in (None, getattr(worker, name))]


def _began_with(job: JobSnapshot) -> str:
    parts = [f"revision {job.served_revision}", f"dtype {job.served_dtype}"]
    parts += [f"engine {job.served_engine}"] if job.served_engine else []
    parts += [f"{job.served_threads} threads"] if job.served_threads else []
    return ", ".join(parts + ([f"numerics {job.served_numerics}"] if job.served_numerics else []))


def _in_what(job: JobSnapshot, workers: list[WorkerRow]) -> str:
    names = [name for name in MUST_MATCH if any(name in _unlike(job, worker) for worker in workers)]
    return f" in {' and '.join(names)}" if names else ""


def _for_classifier(job: JobSnapshot, workers: list[WorkerRow], brought: bool) -> str | None:
    alive = [worker for worker in workers if worker.alive]
    ready = [worker for worker in alive if worker.state == "ready"]
    if any(worker.scores(job.safety, job.served_classifier_revision) for worker in ready):
        return None
    if any(worker.scores(job.safety, None) for worker in ready) and job.status is not JobStatus.CANCELLING:
        return (
            f"a worker that scores with revision {job.served_classifier_revision} of {job.safety}, like this job's "
            "other texts (the running ones have another); score the rest with theirs: "
            f"inkmill retry {job.id} --any-worker, or all texts again: inkmill rescore {job.id}"
        )
    why = next((worker.error for worker in alive if worker.error and repr(job.safety) in worker.error), None)
    if why is None and brought:
        return "its worker, which is starting"
    if why is None and any(worker.scores(job.safety, job.served_classifier_revision) for worker in alive):
        return f"the worker that scores with {job.safety}: it is loading"
    reason = f" ({why})" if why else ""
    or_else = f", or finish it without scores: inkmill cancel {job.id}" if job.status is JobStatus.CANCELLING else ""
    return f"a worker that scores with {job.safety}{reason}; start one: {worker_command(job)}{or_else}"
