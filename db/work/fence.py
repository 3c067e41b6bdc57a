"""What a save under a claim is refused with. Control flow between `db.work` and tasks: no user ever reads it."""

from __future__ import annotations


class LeaseLost(Exception):
    """Another worker owns the claim now, or nobody wants it done any more: this save changed nothing."""


class PolicyChanged(Exception):
    """The job's blocklist is not the one these texts were matched against: nothing was stored."""
