"""Takes back what was claimed and whose lease ran out: batches, and requests for scores.

Whose process was seen to die is marked by its parent at once, in `worker.supervise`.
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
        log.warning("leases ran out; their batches wait again", batches=expired)
    if sweep_requests(database):
        log.warning("leases of score requests ran out; they wait again")
