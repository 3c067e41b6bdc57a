"""Holding a claim while it is worked on, and settling it where the work does not end by itself.

What a claim is of, and how it is given back, is for the tasks to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from contract.errors import InkmillError
from db.work.claims import Claim, leave_to_lease
from db.work.lease import LeaseLost
from db.work.request_claims import RequestClaim
from worker.runtime.lease import C, Lease
from worker.runtime.runtime import Runtime

log = structlog.get_logger()


@contextmanager
def held(
    runtime: Runtime,
    claim: C,
    *,
    failed: Callable[[Exception], object],
    lost: Callable[[], object] = lambda: None,
) -> Iterator[Lease[C]]:
    """Renews `claim` for as long as the block runs, and ends the block where its work cannot go on.

    Args:
        failed: called with an error that is nobody's to answer; itself may find that the claim is lost.
        lost: called where the claim is not this worker's any more.

    Raises:
        InkmillError: what the block raised, such as a database that is away while this process leaves.
    """
    with runtime.leases.hold(claim) as lease:
        try:
            try:
                yield lease
            except (InkmillError, LeaseLost):
                raise
            except Exception as error:
                failed(error)
        except LeaseLost as reason:
            log.info("stopped", **_name(claim), why=str(reason))
            lost()


def _name(claim: Claim | RequestClaim) -> dict[str, Any]:
    return {"batch": claim.batch_id} if isinstance(claim, Claim) else {"request": claim.request_id}


def retry_when_lease_ends(runtime: Runtime, claim: Claim) -> None:
    """Given back at once a batch that failed would be claimed at once, and fail again."""
    log.exception("a batch failed; it is taken up again when its lease has run out", batch=claim.batch_id)
    runtime.patiently(lambda: leave_to_lease(runtime.database, claim))
