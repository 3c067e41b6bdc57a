"""Which Host headers are ours. A page whose name was pointed at this server (DNS rebinding) brings its own name."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether only this computer reaches a server bound to `host`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Hosts:
    """The names and addresses that a server answers to."""

    def __init__(self, bind: str, names: Iterable[str] = ()) -> None:
        self._near = is_loopback(bind)
        own = {"localhost"} if self._near else {"localhost", bind, socket.gethostname(), socket.getfqdn()}
        self._names = {name.lower().rstrip(".") for name in (*own, *names)}

    def knows(self, host_header: str) -> bool:
        """Whether a request with that Host header is meant for us; any port, for tunnels."""
        host = host_of(f"//{host_header}")
        if host is None:
            return False
        if host in self._names:
            return True
        try:
            address = ip_address(host)
        except ValueError:
            return False  # somebody else's name
        # An address cannot be pointed elsewhere.
        return address.is_loopback if self._near else True


def host_of(url: str) -> str | None:
    """The host that a URL names, in lower case without its brackets; None where it names none."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is none
    except ValueError:
        return None
    if parts.username is not None or parts.path or parts.query:
        return None
    return parts.hostname.rstrip(".") if parts.hostname else None
