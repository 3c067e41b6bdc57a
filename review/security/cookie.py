"""The signed cookie of a reviewer, and the CSRF token of their forms.

The server keeps only one key, so a session survives a restart. Which sessions were ended by signing out is not known
here.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from itsdangerous import BadData, Signer
from itsdangerous.encoding import base64_decode, base64_encode
from starlette.datastructures import Headers

from common.private_files import make_secret, read_secret
from contract.errors import UsageError
from contract.settings import private_folder, reporting_unreadable
from review.security.access import Access

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
    expires: int


class CookieSigner:
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
        content = f"{base64_encode(name).decode()}.{expires}.{secrets.token_urlsafe(12)}"
        return self._signer("cookie", self._access.proof(name) or "").sign(content).decode()

    def read(self, cookie: str, *, now: float | None = None) -> SignedIn | None:
        """Who this cookie belongs to; None where it is forged or expired, or the reviewer has lost access."""
        try:
            encoded_name, expires, sitting, _ = cookie.split(".")
            name = base64_decode(encoded_name).decode()
            proof = self._access.proof(name)
            if proof is None:
                return None
            content = self._signer("cookie", proof).unsign(cookie)
        except (ValueError, BadData):
            return None
        if int(expires) < (time.time() if now is None else now):
            return None
        return SignedIn(name, self._signer("form", proof).get_signature(content).decode(), sitting, int(expires))

    def _signer(self, use: str, proof: str) -> Signer:
        # The proof is part of the salt: a changed token ends the sitting.
        salt = f"{use}\0{proof}".encode("utf-8", "replace")
        return Signer(self._key, salt, key_derivation="hmac", digest_method=hashlib.sha256)


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
        key = read_secret(file, KEY_BYTES)
        if key is None:
            if file.exists():
                log.warning("%s was short or damaged and has been replaced: everyone has to sign in again", file)
            private_folder(home)
            key = make_secret(file, KEY_BYTES)
    return base64_decode(key)
