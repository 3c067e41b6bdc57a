"""Takes back batches and score requests whose lease ran out.

If a process dies under its parent's eyes, `worker.supervise` takes its claims back at once.
"""

from __future__ import annotations

import structlog

from db.session.engine import Database
from db.work.recovery import sweep
from db.work.request_claims import sweep_requests

log = structlog.get_logger()


def rescue_leases(database: Database) -> None:
    expired = sweep(database)
    if expired:
        log.warning("leases ran out; their batches will be claimed again", batches=expired)
    if sweep_requests(database):
        log.warning("leases of score requests ran out; they will be claimed again")
