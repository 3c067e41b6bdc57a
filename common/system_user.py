"""Who runs this program, by the operating system's account."""

from __future__ import annotations

import getpass
import os


def system_user() -> str | None:
    """The name of the account; None where it has none, as a container's may."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        return None
    # A name comes from the environment too, and need not be text.
    return os.fsencode(name).decode("utf-8", "backslashreplace")
