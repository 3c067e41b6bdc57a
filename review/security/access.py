"""Who may open the page: reviewers by name, each with a secret token.

How a token is sent (forms, cookies) is not known here.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from contract.errors import UsageError
from contract.review import checked_name

SHORTEST_TOKEN = 16


class Access(Protocol):
    """The reviewers of one server."""

    # Whether the printed address contains the token; otherwise it is typed in.
    by_address: bool

    def enter(self, token: str) -> str | None:
        """The reviewer with this token; None where there is none."""

    def proof(self, name: str) -> str | None:
        """What a reviewer's cookie is signed with, so that it expires with the token; None = no such reviewer."""


class OneTimeToken:
    """One reviewer on this computer: the token in the printed address works once."""

    by_address = True

    def __init__(self, name: str) -> None:
        self.name = checked_name(name)
        self.token = secrets.token_urlsafe(32)
        self._spent = False
        self._lock = threading.Lock()

    def enter(self, token: str) -> str | None:
        matches = same(token, self.token)
        with self._lock:
            if not matches or self._spent:
                return None
            self._spent = True
        return self.name

    def proof(self, name: str) -> str | None:
        # The token changes with every restart, and a session must survive one.
        return "this computer" if same(name, self.name) else None


class TokenFile:
    """Several reviewers, from a file of lines `name token`, read once."""

    by_address = False

    def __init__(self, path: Path) -> None:
        self._tokens = dict(_reviewers(path))

    @property
    def names(self) -> list[str]:
        return sorted(self._tokens)

    def enter(self, token: str) -> str | None:
        reviewer = None
        for name, expected in self._tokens.items():  # all of them: the time it takes must reveal nothing
            if same(token, expected):
                reviewer = name
        return reviewer

    def proof(self, name: str) -> str | None:
        return self._tokens.get(name)


def same(left: str, right: str) -> bool:
    """Whether two strings are equal, compared in constant time."""
    return hmac.compare_digest(left.encode("utf-8", "replace"), right.encode("utf-8", "replace"))


def _reviewers(path: Path) -> Iterable[tuple[str, str]]:
    seen: dict[str, int] = {}
    tokens: set[str] = set()
    for number, line in enumerate(_private_text(path).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, token = line.strip().rpartition(" ")
        where = f"--token-file {path}, line {number}"
        if not name:
            raise UsageError(f"{where}: must be 'name token'")
        try:
            name = checked_name(name)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
        if len(token) < SHORTEST_TOKEN or not token.isprintable():
            problem = (
                f"is shorter than {SHORTEST_TOKEN} characters and could be guessed"
                if len(token) < SHORTEST_TOKEN
                else "has an unprintable character: the file may be damaged"
            )
            raise UsageError(
                f"{where}: the token of {name} {problem}; "
                "generate one: python3 -c 'import secrets; print(secrets.token_urlsafe(24))'"
            )
        if name in seen:
            raise UsageError(f"{where}: {name} already has a token, in line {seen[name]}")
        if token in tokens:
            raise UsageError(f"{where}: {name} has the same token as someone else")
        seen[name] = number
        tokens.add(token)
        yield name, token
    if not seen:
        raise UsageError(f"--token-file {path}: is empty; write a line 'name token' for each reviewer")


def _private_text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_ISREG(mode) and mode & 0o077:
                raise UsageError(
                    f"--token-file {path}: others can read it (mode {stat.S_IMODE(mode):o}); run: chmod 600 {path}"
                )
            return file.read()
    except OSError as error:
        raise UsageError(f"--token-file {path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--token-file {path}: is not UTF-8 text") from None
