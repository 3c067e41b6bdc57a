"""Packages that only some kinds of model need, and that are not part of an installation."""

from __future__ import annotations

from importlib.util import find_spec

from contract.errors import ModelUnavailable


def require(what: str, *packages: str) -> None:
    """
    Args:
        what: needs them; a sentence.

    Raises:
        ModelUnavailable: one is not installed.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        named = f"the package{'' if len(missing) == 1 else 's'} {' and '.join(missing)}"
        raise ModelUnavailable(f"{what}, and to read it {named} must be installed: pip install {' '.join(missing)}")
