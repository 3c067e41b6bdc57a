"""What a row without a lease looks like, and why a save under one is refused.

The refusals are control flow between `db.work` and tasks: no user ever reads them.
"""

from __future__ import annotations

from typing import Any

NO_LEASE: dict[str, Any] = {"worker": None, "lease_token": None, "lease_until": None}
"""The columns of a batch, or of a score request, that nobody holds."""

REASON_CHARACTERS = 1000


class LeaseLost(Exception):
    """Another worker holds the claim now, or nobody wants it done any more: this save changed nothing."""


class PolicyChanged(Exception):
    """The job's blocklist is not the one these texts were matched against: nothing was stored."""


def shortened(reason: str) -> str:
    """Why work under a lease failed, as it is kept: an exception may quote a whole prompt."""
    return reason if len(reason) <= REASON_CHARACTERS else reason[:REASON_CHARACTERS] + "…"
