"""Takes back batches, score requests and tunings whose lease ran out.

If a process dies under its parent's eyes, `worker.supervise` takes its claims back at once.
"""

from __future__ import annotations

import structlog

from db.session.engine import Database
from db.tuning.claims import sweep_tunings
from db.work.recovery import sweep
from db.work.request_claims import sweep_requests

log = structlog.get_logger()


def rescue_leases(database: Database) -> None:
    expired = sweep(database)
    if expired:
        log.warning("leases ran out; their batches will be claimed again", batches=expired)
    if sweep_requests(database):
        log.warning("leases of score requests ran out; they will be claimed again")
    if sweep_tunings(database):
        log.warning("leases of tunings ran out; they will go on from their last checkpoints")
