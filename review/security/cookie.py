"""The signed cookie of a reviewer, and the CSRF token of their forms.

The server keeps only one key, so a session survives a restart. Which sessions were ended by signing out is not known
here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import Headers

from common.private_files import make_secret, read_secret
from contract.errors import UsageError
from contract.settings import private_folder, reporting_unreadable
from review.security.access import Access, same

COOKIE_SECONDS = 7 * 86400
KEY_FILE = "review.key"
KEY_BYTES = 32

log = logging.getLogger("inkmill.review")


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A signed-in reviewer."""

    name: str
    csrf: str  # every form and fetch of theirs must carry it
    sitting: str  # drawn at sign-in
    until: int  # when the cookie expires


class Signer:
    """Makes and reads the cookies of one server."""

    def __init__(self, key: bytes, access: Access, port: int) -> None:
        if len(key) < KEY_BYTES:  # anyone could sign with an empty one
            raise UsageError(f"the key that signs cookies has {len(key)} bytes; it must have {KEY_BYTES}")
        self._key = key
        self._access = access
        # Cookies ignore ports: two servers on one computer must not overwrite each other's.
        self.cookie_name = f"inkmill-{port}"

    def cookie(self, name: str, *, now: float | None = None) -> str:
        """A fresh cookie's value for a reviewer."""
        expires = int((time.time() if now is None else now) + COOKIE_SECONDS)
        body = f"{_packed(name.encode())}.{expires}.{secrets.token_urlsafe(12)}"
        return f"{body}.{self._signature(body, self._access.proof(name) or '')}"

    def read(self, cookie: str, *, now: float | None = None) -> SignedIn | None:
        """Who this cookie belongs to; None where it is forged or expired, or the reviewer has lost access."""
        body, _, signature = cookie.rpartition(".")
        parts = body.split(".")
        if len(parts) != 3:
            return None
        packed, until, sitting = parts
        if not until.isdecimal() or not until.isascii() or len(until) > 12:
            return None
        try:
            name = _unpacked(packed).decode()
        except (ValueError, binascii.Error):
            return None
        proof = self._access.proof(name)
        if proof is None or not same(signature, self._signature(body, proof)):
            return None
        if int(until) < (time.time() if now is None else now):
            return None
        return SignedIn(name, self._signature(body, proof, use="form"), sitting, int(until))

    def _signature(self, body: str, proof: str, use: str = "cookie") -> str:
        message = "\0".join((use, proof, body)).encode("utf-8", "replace")
        return _packed(hmac.new(self._key, message, hashlib.sha256).digest())


def read_cookies(headers: Headers) -> dict[str, str]:
    """The cookies of a request by name.

    Python's own parser takes a second for 16 KB of backslashes, quadratic in their number, and strangers may send them.
    Our cookies need only their quotes removed.
    """
    pairs = (cookie.partition("=") for cookie in headers.get("cookie", "").split(";"))
    return {name.strip(): value.strip().removeprefix('"').removesuffix('"') for name, _, value in pairs}


def stored_key(home: Path) -> bytes:
    """The signing key of this installation, made at first use. Deleting its file signs everyone out."""
    file = home / KEY_FILE
    with reporting_unreadable():
        known = read_secret(file, KEY_BYTES)
        if known is None:
            if file.exists():
                log.warning("%s was short or damaged and has been replaced: everyone has to sign in again", file)
            private_folder(home)
            known = make_secret(file, KEY_BYTES)
    return _unpacked(known)


def _packed(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _unpacked(value: str) -> bytes:
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
