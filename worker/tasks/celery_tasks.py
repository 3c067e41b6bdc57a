"""The two Celery tasks, thin: a message is a hint, a claim in SQL decides, and with nothing to claim they return."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from celery import Celery

from contract.errors import DatabaseUnreachable
from contract.queue import GENERATE, SCORE
from db.work.claims import Claim, claim_generation, claim_scoring, waiting_generation, waiting_scoring
from db.work.request_claims import claim_request, waiting_requests
from worker.runtime.runtime import Runtime
from worker.tasks.generate import generate
from worker.tasks.score import score
from worker.tasks.score_request import serve_request

log = structlog.get_logger()
_runtime: Runtime | None = None


def serve(runtime: Runtime) -> None:
    """Makes `runtime` the one that the tasks of this process work in."""
    global _runtime  # Celery calls tasks by name: they find their process' runtime here
    _runtime = runtime


def register(app: Celery) -> None:
    """Has `app` call the two tasks by the names that messages give them."""
    app.task(generate_task, name=GENERATE)
    app.task(score_task, name=SCORE)


def generate_task(hint: object = None) -> None:
    """Generates the hinted batch, or the oldest waiting one."""
    if _runtime is not None:
        _work(_runtime, _generate_one, hint, _runtime.refill_generation, _runtime.refill_scoring)


def score_task(hint: object = None) -> None:
    """Scores what a person asked for, else the hinted batch, else the oldest waiting one."""
    if _runtime is not None:
        _work(_runtime, _score_one, hint, _runtime.refill_scoring)


def _work(
    runtime: Runtime, one: Callable[[Runtime, int | None], bool], hint: object, *refills: Callable[[], None]
) -> None:
    batch_id = hint if isinstance(hint, int) and not isinstance(hint, bool) and 0 < hint < 2**63 else None
    try:
        claimed = one(runtime, batch_id)
    except DatabaseUnreachable as error:
        log.warning("the database is away; the next sweep hands the work out again", error=str(error))
        return
    if claimed and not runtime.stopping.is_set():
        for refill in refills:
            refill()


def _generate_one(runtime: Runtime, hint: int | None) -> bool:
    if runtime.turns.suspects_due("generation") and _suspect_to_generate(runtime):
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
    return _suspect_to_generate(runtime)


def _score_one(runtime: Runtime, hint: int | None) -> bool:
    with runtime.place_to_score() as wanted:
        if not wanted:
            return False
        with runtime.turns.together() as granted:
            if granted and _request(runtime):  # first: a person waits for it
                return True
        if runtime.turns.suspects_due("scoring") and _suspect_to_score(runtime):
            return True
        with runtime.turns.together() as granted:
            claim = _claim(runtime, claim_scoring, hint=hint) if granted else None
            if claim is not None:
                score(runtime, claim)
                return True
        return granted and _suspect_to_score(runtime)


def _request(runtime: Runtime, *, alone: bool = False) -> bool:
    """Serves the oldest score request: whichever a message names, a person waits for each."""
    able, lease = runtime.ability, runtime.where.lease_seconds
    asked = claim_request(
        runtime.database, runtime.worker, able.classifiers, lease, alone=alone, revisions=able.classifier_revisions
    )
    if asked is not None:
        serve_request(runtime, asked)
    return asked is not None


def _tried_request(runtime: Runtime) -> bool:
    """One that was tried in vain gets its turn alone: it may have taken the process down."""
    able = runtime.ability
    if not waiting_requests(runtime.database, able.classifiers, 1, alone=True, revisions=able.classifier_revisions):
        return False
    with runtime.turns.alone(runtime.stopping) as granted:
        return granted and _request(runtime, alone=True)


def _suspect_to_generate(runtime: Runtime) -> bool:
    return _suspect(runtime, "generation", claim_generation, waiting_generation, generate)


def _suspect_to_score(runtime: Runtime) -> bool:
    return _tried_request(runtime) or _suspect(runtime, "scoring", claim_scoring, waiting_scoring, score)


def _suspect(
    runtime: Runtime,
    kind: str,
    claiming: Callable[..., Claim | None],
    waiting: Callable[..., list[int]],
    work: Callable[[Runtime, Claim], bool],
) -> bool:
    """A batch that processes died over gets its turn, alone: with nothing unmarked left to claim, or now and then."""
    if not waiting(runtime.database, runtime.ability, 1, suspects=True):
        runtime.turns.suspects_had_their_turn(kind)
        return False
    with runtime.turns.alone(runtime.stopping) as granted:
        claim = _claim(runtime, claiming, suspects=True) if granted else None
        if claim is None:
            return False
        log.info("a suspect batch runs alone", batch=claim.batch_id)
        try:
            work(runtime, claim)
        finally:
            runtime.turns.suspects_had_their_turn(kind)
    return True


def _claim(runtime: Runtime, claiming: Callable[..., Claim | None], **what: object) -> Claim | None:
    return claiming(runtime.database, runtime.ability, runtime.where.lease_seconds, **what)
