"""Which Host headers are ours: a site that points its name at this server (DNS rebinding) sends another one."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether only this computer can reach a server bound to `host`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Hosts:
    """The names and addresses that a server answers to."""

    def __init__(self, bind: str, names: Iterable[str] = ()) -> None:
        self._loopback_only = is_loopback(bind)
        defaults = {"localhost"} if self._loopback_only else {"localhost", bind, socket.gethostname(), socket.getfqdn()}
        self._names = {name.lower().rstrip(".") for name in (*defaults, *names)}

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
            return False  # another site's name
        # An IP address cannot be rebound.
        return address.is_loopback if self._loopback_only else True


def host_of(url: str) -> str | None:
    """The host in a URL, in lower case without brackets; None where there is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is invalid
    except ValueError:
        return None
    if parts.username is not None or parts.path or parts.query:
        return None
    return parts.hostname.rstrip(".") if parts.hostname else None
