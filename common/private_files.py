"""A drawn secret in a file of its own: the same for every process, whole or not there, never a guessable one.

What a secret is for, and who may see its folder, is not known here.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from pathlib import Path


class UnreadableFile(Exception):
    """A file that is there and cannot be read; says which, why and what to do."""


def is_secret(text: str, size: int) -> bool:
    """Whether a text can be a secret of at least `size` bytes, as `secrets.token_urlsafe` writes them down."""
    well_formed = re.fullmatch(r"[A-Za-z0-9_-]+", text) and len(text) % 4 != 1
    return bool(well_formed) and len(text) * 3 // 4 >= size


def read_secret(file: Path, size: int) -> str | None:
    """The secret that a file holds; None where it is missing, short or damaged.

    Raises:
        Unreadable: it is there and cannot be read.
    """
    try:
        secret = file.read_bytes().decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnreadableFile(
            f"{file}: cannot be read ({error.strerror}); let its owner read it, or remove it"
        ) from None
    return secret if is_secret(secret, size) else None


def make_secret(file: Path, size: int, known: str | None = None) -> str:
    """Puts a whole secret where there is none. Of processes that ask at once all get the same.

    Args:
        file: in a folder that is private already.
        before: the secret to write down again, where somebody still knows it; None draws one.
    """
    with os.fdopen(os.open(file.with_name(f"{file.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        secret = read_secret(file, size)
        if secret is None:
            secret = known or secrets.token_urlsafe(size)
            _replace(file, secret)
        return secret


def _replace(file: Path, text: str) -> None:
    part = file.with_name(f"{file.name}.part")
    with os.fdopen(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as written:
        os.fchmod(written.fileno(), 0o600)  # a part that was left here may be open to others
        written.write(text)
        written.flush()
        os.fsync(written.fileno())
    part.replace(file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
