"""What the pages of one server share: made once by `create_app`, found at `Page.services`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from db.session.engine import Database
from review.live.shared_reads import SharedReads
from review.reflagging import Reflags
from review.security.access import Access
from review.security.cookie import CookieSigner
from review.security.hosts import Hosts


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """The configuration of one server."""

    access: Access
    hosts: Hosts
    key: bytes  # signs the cookies
    port: int
    secure: bool = False  # browsers reach it only over TLS, so cookies can be limited to that
    audit_share: float = 0.0  # the share of randomly drawn unflagged outputs in the queue
    closing: Callable[[], bool] = lambda: False  # whether the server is shutting down: streams end then


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """All of it together."""

    config: ServerConfig
    database: Database
    signer: CookieSigner
    shared_reads: SharedReads
    reflags: Reflags

    @classmethod
    def of(cls, database: Database, config: ServerConfig) -> Services:
        return cls(
            config=config,
            database=database,
            signer=CookieSigner(config.key, config.access, config.port),
            shared_reads=SharedReads(),
            reflags=Reflags(database),
        )
