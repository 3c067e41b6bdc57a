"""Binds the page to an address and serves it until told to stop."""

from __future__ import annotations

import errno
import logging
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

import uvicorn

from contract.errors import InkmillError, UsageError
from db.session.engine import Database
from review.app import create_app
from review.security.access import OneTimeToken, TokenFile
from review.security.connection import Connection, Strangers
from review.security.cookie import stored_key
from review.security.hosts import Hosts, is_loopback
from review.services import ServerConfig

BACKLOG = 128
"""Connections waiting to be accepted."""
ACCEPT_ERROR_SECONDS = 60.0
"""How often running out of file descriptors is logged: asyncio would log it for each waiting connection."""
SHUTDOWN_SECONDS = 2
"""The time open streams get at shutdown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """The options of `inkmill web`."""

    host: str
    port: int
    name: str  # the reviewer on this computer, where there is no token file
    token_file: Path | None
    names: tuple[str, ...] = ()  # other host names of the page
    audit_share: float = 0.0
    behind_tls: bool = False  # a TLS proxy is in front of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the page is: what `inkmill web` prints."""

    url: str  # with the one-time token where there is one
    host: str
    port: int
    reviewers: tuple[str, ...]


class Server(uvicorn.Server):
    """A server that accepts few connections at once, while many may wait."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(BACKLOG)  # asyncio has one number for both


class AcceptErrorFilter(logging.Filter):
    """Limits how often asyncio logs that it cannot accept a connection."""

    _logged_at = -ACCEPT_ERROR_SECONDS

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.getMessage().startswith("socket.accept() out of system resource"):
            return True
        if time.monotonic() - self._logged_at < ACCEPT_ERROR_SECONDS:
            return False
        self._logged_at = time.monotonic()
        return True


def serve(database: Database, home: Path, options: WebOptions, ready: Callable[[Address], object]) -> None:
    """Serves the page until SIGINT or SIGTERM.

    Args:
        ready: called once, as soon as the address accepts connections.

    Raises:
        UsageError: the options conflict, or the token file cannot be used.
        InkmillError: the address cannot be bound.
    """
    access = _access(options)
    listener = _bind(options)
    port = listener.getsockname()[1]
    strangers = Strangers()
    config = ServerConfig(
        access=access,
        hosts=Hosts(options.host, options.names),
        key=stored_key(home),
        port=port,
        secure=options.behind_tls,
        audit_share=options.audit_share,
        closing=lambda: server.should_exit,
    )
    server = Server(
        uvicorn.Config(
            create_app(database, config),
            access_log=False,  # it would print addresses, and one of them holds the token
            log_config=None,  # the program's own handlers show what it logs
            log_level="error",
            server_header=False,
            proxy_headers=False,  # anyone may send X-Forwarded-…; --behind-tls declares a proxy instead
            lifespan="off",
            loop="asyncio",
            http=partial(Connection, strangers),  # type: ignore[arg-type]  # uvicorn only calls it
            ws="none",
            backlog=max(strangers.most // 8, 1),  # accepted at once: each takes a file before the oldest close
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
    )

    logging.getLogger("asyncio").addFilter(AcceptErrorFilter())

    def end(*_: object) -> None:
        server.should_exit = True

    # Handled before uvicorn installs its own handlers, and again after it has stopped: it raises the signal once more.
    previous = signal.signal(signal.SIGTERM, end)
    try:
        ready(_address(options, port, access))
        server.run(sockets=[listener])
    finally:
        signal.signal(signal.SIGTERM, previous)
        listener.close()


def _access(options: WebOptions) -> OneTimeToken | TokenFile:
    if options.token_file is not None:
        return TokenFile(options.token_file)
    if not is_loopback(options.host):
        raise UsageError(
            f"--host {options.host}: others could reach the page there, so each reviewer needs a token; "
            "give a file of lines 'name token' with --token-file, or leave out --host"
        )
    return OneTimeToken(options.name)


def _bind(options: WebOptions) -> socket.socket:
    """A listener socket: connections queue up from here on."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise UsageError(f"--host {options.host}: is not an address of this computer ({error.strerror})") from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise InkmillError(_bind_problem(options, error)) from None
    return listener


def _bind_problem(options: WebOptions, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {options.port} on {options.host} is in use, perhaps by another 'inkmill web'; "
            "stop that one, or choose another port with --port (0 = any free one)"
        )
    if error.errno == errno.EACCES:
        return f"port {options.port} needs more privileges; choose one from 1024 up with --port"
    return f"{options.host}:{options.port} cannot be served: {error.strerror}"


def _address(options: WebOptions, port: int, access: OneTimeToken | TokenFile) -> Address:
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(options.host, options.host)  # noqa: S104
    base = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
    if isinstance(access, OneTimeToken):
        return Address(url=f"{base}/sign-in?token={quote(access.token)}", host=options.host, port=port,
                       reviewers=(access.name,))  # fmt: skip
    return Address(url=f"{base}/sign-in", host=options.host, port=port, reviewers=tuple(access.names))
