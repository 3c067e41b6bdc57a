"""Holding a claim while it is worked on, and settling it if the work fails or the claim is lost.

What was claimed, and how it is given back, is left to the tasks.
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
def hold_claim(
    runtime: Runtime,
    claim: C,
    *,
    on_failure: Callable[[Exception], object],
    on_lost: Callable[[], object] = lambda: None,
) -> Iterator[Lease[C]]:
    """Renews `claim` for as long as the block runs, and handles what ends the block early.

    Args:
        on_failure: called with any exception but those below; it may itself find that the claim is lost.
        on_lost: called if the claim is no longer this worker's.

    Raises:
        InkmillError: the block's own, such as DatabaseUnreachable while this process is stopping.
    """
    with runtime.leases.hold(claim) as lease:
        try:
            try:
                yield lease
            except (InkmillError, LeaseLost):
                raise
            except Exception as error:
                on_failure(error)
        except LeaseLost as reason:
            log.info("stopped", **_log_fields(claim), why=str(reason))
            on_lost()


def _log_fields(claim: Claim | RequestClaim) -> dict[str, Any]:
    return {"batch": claim.batch_id} if isinstance(claim, Claim) else {"request": claim.request_id}


def retry_when_lease_ends(runtime: Runtime, claim: Claim) -> None:
    """Leaves a failed batch to its lease: given back, it would be claimed at once, and fail again."""
    log.exception("a batch failed; it will be tried again when its lease has run out", batch=claim.batch_id)
    runtime.patiently(lambda: leave_to_lease(runtime.database, claim))
