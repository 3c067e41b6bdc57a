"""The signed cookie of a reviewer who is in, and the token its forms carry.

Nothing is kept on the server but one key: a sitting goes on after a restart.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from contract.settings import private_folder, write_private
from review.access import Access, same

COOKIE_SECONDS = 7 * 86400
KEY_FILE = "review.key"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A reviewer who is in."""

    name: str
    csrf: str  # what every form and fetch of theirs must bring along


class Signer:
    """Makes and reads the cookies of one server."""

    def __init__(self, key: bytes, access: Access, port: int) -> None:
        self._key = key
        self._access = access
        # Cookies know no ports: two servers on one computer must not overwrite each other's.
        self.cookie_name = f"inkmill-{port}"

    def cookie(self, name: str, *, now: float | None = None) -> str:
        """A fresh cookie's value for a reviewer."""
        expires = int((time.time() if now is None else now) + COOKIE_SECONDS)
        body = f"{_packed(name.encode())}.{expires}.{secrets.token_urlsafe(12)}"
        return f"{body}.{self._signature(body, self._access.proof(name) or '')}"

    def read(self, cookie: str, *, now: float | None = None) -> SignedIn | None:
        """Who brings this cookie; None where it is forged, too old, or of a reviewer who has no access any more."""
        body, _, signature = cookie.rpartition(".")
        parts = body.split(".")
        if len(parts) != 3 or not parts[1].isdecimal() or not parts[1].isascii() or len(parts[1]) > 12:
            return None
        try:
            name = _unpacked(parts[0]).decode()
        except (ValueError, binascii.Error):
            return None
        proof = self._access.proof(name)
        if proof is None or not same(signature, self._signature(body, proof)):
            return None
        if int(parts[1]) < (time.time() if now is None else now):
            return None
        return SignedIn(name, self._signature(body, proof, use="form"))

    def _signature(self, body: str, proof: str, use: str = "cookie") -> str:
        message = "\0".join((use, proof, body)).encode("utf-8", "replace")
        return _packed(hmac.new(self._key, message, hashlib.sha256).digest())


def stored_key(home: Path) -> bytes:
    """The signing key of this installation, drawn by whoever asks first. Removing its file signs everybody out."""
    file = home / KEY_FILE
    try:
        return _unpacked(file.read_text().strip())
    except (FileNotFoundError, ValueError):
        part = private_folder(home) / f"{KEY_FILE}.{secrets.token_hex(8)}"
        write_private(part, _packed(secrets.token_bytes(32)))
        with contextlib.suppress(FileExistsError):
            os.link(part, file)  # unlike a rename, it never replaces what another process drew
        part.unlink()
        return _unpacked(file.read_text().strip())


def _packed(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _unpacked(value: str) -> bytes:
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
