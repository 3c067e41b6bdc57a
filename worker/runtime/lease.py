"""Keeps the leases of this process alive, from a thread of its own, and tells the tasks whose lease is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import structlog

from contract.errors import DatabaseUnreachable
from db.session.engine import Database
from db.work.claims import Claim, renew_claims
from db.work.request_claims import RequestClaim, renew_requests

C = TypeVar("C", Claim, RequestClaim)
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Lease(Generic[C]):
    """A claim under renewal. `lost` is set when another worker has it, or the work is no longer wanted."""

    claim: C
    lost: threading.Event = field(default_factory=threading.Event)


class LeaseKeeper:
    """Renews every lease held here each quarter of its time, only while the engine and the scorer advance."""

    def __init__(self, database: Database, seconds: float, advances: Callable[[], bool]) -> None:
        self._database, self._seconds, self._advances = database, seconds, advances
        self._leases: dict[str, Lease[Any]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="leases", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    @contextmanager
    def hold(self, claim: C) -> Iterator[Lease[C]]:
        """Renews `claim` for as long as the block runs."""
        lease = Lease(claim)
        with self._lock:
            self._leases[claim.token] = lease
        try:
            yield lease
        finally:
            with self._lock:
                self._leases.pop(claim.token, None)

    @property
    def held(self) -> list[Lease[Any]]:
        with self._lock:
            return list(self._leases.values())

    def _keep(self) -> None:
        while not self._stopping.wait(self._seconds / 4):
            if self.held and self._advances():
                self._renew()

    def _renew(self) -> None:
        leases = self.held
        try:
            claims = [lease.claim for lease in leases]
            lost = renew_claims(self._database, [claim for claim in claims if isinstance(claim, Claim)], self._seconds)
            requests = [claim for claim in claims if isinstance(claim, RequestClaim)]
            lost |= renew_requests(self._database, requests, self._seconds)
        except DatabaseUnreachable as error:
            log.warning("leases could not be renewed; trying again", error=str(error))
            return
        except Exception:
            log.exception("leases could not be renewed; trying again")
            return
        for lease in leases:
            # A batch that ended meanwhile has no token any more: then nothing waits for its event.
            if lease.claim.token in lost:
                lease.lost.set()
