"""Which Inkmill this is. The version is written in pyproject.toml alone; installing it records it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed(package: str) -> str | None:
    """The version of an installed package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def own_version() -> str:
    """Inkmill's own version; a checkout that was never installed has none."""
    return installed("inkmill") or "from a checkout"
