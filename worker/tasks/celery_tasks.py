"""The Celery tasks. A message is only a hint: work is claimed in SQL, and a task that can claim nothing returns."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from celery import Celery

from contract.errors import DatabaseUnreachable
from contract.queue import GENERATE, SCORE, TUNE
from db.tuning.claims import claim_tuning
from db.tuning.tunings import tuning_reference
from db.work.claims import Claim, claim_generation, claim_scoring, waiting_generation, waiting_scoring
from db.work.request_claims import claim_request, waiting_requests
from worker.runtime.runtime import Runtime
from worker.tasks.generate import generate
from worker.tasks.score import score
from worker.tasks.score_request import serve_request
from worker.tunings_here import tunings_here

log = structlog.get_logger()
_runtime: Runtime | None = None


def serve(runtime: Runtime) -> None:
    """Sets the runtime that the tasks of this process use."""
    global _runtime  # Celery calls tasks by name, so they find their runtime here
    _runtime = runtime


def register(app: Celery) -> None:
    """Registers the tasks under the names that messages use."""
    app.task(generate_task, name=GENERATE)
    app.task(score_task, name=SCORE)
    app.task(tune_task, name=TUNE)


def generate_task(hint: object = None) -> None:
    """Generates the hinted batch, or the oldest waiting one."""
    if _runtime is not None:
        _run_task(_runtime, _generate_one, hint, _runtime.refill_generation, _runtime.refill_scoring)


def score_task(hint: object = None) -> None:
    """Serves a score request, for which a person waits; else scores the hinted batch, else the oldest waiting one."""
    if _runtime is not None:
        _run_task(_runtime, _score_one, hint, _runtime.refill_scoring)


def tune_task(hint: object = None) -> None:
    """Makes way for the oldest tuning that waits: this process ends in order, and its parent trains with the memory
    that the model has left."""
    if _runtime is not None:
        _run_task(_runtime, _make_way, hint)


def _run_task(
    runtime: Runtime, run_one: Callable[[Runtime, int | None], bool], hint: object, *refills: Callable[[], None]
) -> None:
    batch_id = hint if isinstance(hint, int) and not isinstance(hint, bool) and 0 < hint < 2**63 else None
    try:
        claimed = run_one(runtime, batch_id)
    except DatabaseUnreachable as error:
        log.warning("the database cannot be reached; the next sweep hands the work out again", error=str(error))
        return
    if claimed and not runtime.stopping.is_set():
        for refill in refills:
            refill()


def _generate_one(runtime: Runtime, hint: int | None) -> bool:
    if runtime.turns.suspects_due("generation") and _generate_suspect(runtime):
        return True
    with runtime.turns.together() as granted:
        if not granted:
            return False
        with runtime.place_to_claim() as wanted:
            if not wanted:
                return False
            claim = _claim(runtime, claim_generation, hint=hint)
        if claim is not None:
            generate(runtime, claim)
            return True
    return _generate_suspect(runtime)


def _score_one(runtime: Runtime, hint: int | None) -> bool:
    with runtime.place_to_score() as wanted:
        if not wanted:
            return False
        with runtime.turns.together() as granted:
            if granted and _serve_request(runtime):  # first: a person waits for it
                return True
        if runtime.turns.suspects_due("scoring") and _score_suspect(runtime):
            return True
        with runtime.turns.together() as granted:
            claim = _claim(runtime, claim_scoring, hint=hint) if granted else None
            if claim is not None:
                score(runtime, claim)
                return True
        return granted and _score_suspect(runtime)


def _make_way(runtime: Runtime, _: int | None) -> bool:
    if runtime.stopping.is_set():
        return False
    here = tunings_here(runtime.database, runtime.config.models_folder, runtime.device)
    if not here:
        return False
    # Claimed already now, so that no second worker makes way for the same one; the parent claims it anew.
    lease = runtime.config.lease_seconds
    claim = claim_tuning(runtime.database, runtime.worker, runtime.device, lease, among=here)
    if claim is not None:
        log.info("making way for a tuning", tuning=tuning_reference(claim.tuning_id))
        runtime.make_way()
    return claim is not None


def _serve_request(runtime: Runtime, *, alone: bool = False) -> bool:
    """Serves the oldest score request, whichever one the message named: a person waits for each."""
    ability, lease = runtime.ability, runtime.config.lease_seconds
    request = claim_request(
        runtime.database,
        runtime.worker,
        ability.classifiers,
        lease,
        alone=alone,
        revisions=ability.classifier_revisions,
    )
    if request is not None:
        serve_request(runtime, request)
    return request is not None


def _serve_suspect_request(runtime: Runtime) -> bool:
    """Serves a request that was tried in vain with nothing beside it, since it may have killed a process."""
    ability = runtime.ability
    if not waiting_requests(
        runtime.database, ability.classifiers, 1, alone=True, revisions=ability.classifier_revisions
    ):
        return False
    with runtime.turns.alone(runtime.stopping) as granted:
        return granted and _serve_request(runtime, alone=True)


def _generate_suspect(runtime: Runtime) -> bool:
    return _run_suspect(runtime, "generation", claim_generation, waiting_generation, generate)


def _score_suspect(runtime: Runtime) -> bool:
    return _serve_suspect_request(runtime) or _run_suspect(runtime, "scoring", claim_scoring, waiting_scoring, score)


def _run_suspect(
    runtime: Runtime,
    kind: str,
    claim_function: Callable[..., Claim | None],
    list_waiting: Callable[..., list[int]],
    process: Callable[[Runtime, Claim], bool],
) -> bool:
    """Runs a batch that processes died over, with nothing beside it.

    Called when nothing unmarked is left to claim, and now and then before that.
    """
    if not list_waiting(runtime.database, runtime.ability, 1, suspects=True):
        runtime.turns.suspects_had_their_turn(kind)
        return False
    with runtime.turns.alone(runtime.stopping) as granted:
        claim = _claim(runtime, claim_function, suspects=True) if granted else None
        if claim is None:
            return False
        log.info("a suspect batch runs alone", batch=claim.batch_id)
        try:
            process(runtime, claim)
        finally:
            runtime.turns.suspects_had_their_turn(kind)
    return True


def _claim(runtime: Runtime, claim_function: Callable[..., Claim | None], **filters: object) -> Claim | None:
    return claim_function(runtime.database, runtime.ability, runtime.config.lease_seconds, **filters)
