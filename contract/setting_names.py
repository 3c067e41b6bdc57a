"""The names of settings as people write them: in variables and in inkmill.toml, and which one was meant by a wrong one.

A variable that resembles no setting may be somebody else's, so it is only listed; a key in our own file never is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from common.near_misses import nearest, one_letter_off
from contract.errors import UsageError

PREFIX = "INKMILL_"
NOT_SETTINGS = ("log_level",)
"""What is read from variables elsewhere: `worker.supervise.logs`."""


def check_variables(variables: Iterable[str], known: Collection[str]) -> None:
    """Refuses a variable that is nearly a setting's: without it a job would run with the defaults.

    Raises:
        UsageError: naming it, and the one that was probably meant.
    """
    for variable in sorted(variables):
        meant = _meant_variable(variable, known)
        if meant is not None:
            raise UsageError(f"{variable}: is no setting; did you mean {PREFIX}{meant.upper()}? Otherwise unset it")


def unknown_variables(variables: Iterable[str], known: Collection[str]) -> list[str]:
    """The variables that begin like ours and are no setting."""
    ours = [variable for variable in variables if variable.upper().startswith(PREFIX)]
    return sorted(variable for variable in ours if _name(variable) not in (*known, *NOT_SETTINGS))


def check_keys(keys: Iterable[str], known: Collection[str], file: Path) -> None:
    """Refuses a key of a settings file that is no setting.

    Raises:
        UsageError: naming the file, the key, and the one that was probably meant.
    """
    for key in keys:
        if key not in known:
            near = _nearest(_name(key), known)
            hint = f"did you mean {near}?" if near else f"there are {', '.join(known)}"
            raise UsageError(f"{file}: {key} is no setting; {hint}")


def _meant_variable(variable: str, known: Collection[str]) -> str | None:
    """The setting that a variable was probably meant to be; None where it is one, or resembles none."""
    head, _, tail = variable.partition("_")
    name = _name(variable)
    if variable.upper().startswith(PREFIX):
        return None if name in (*known, *NOT_SETTINGS) else one_letter_off(name, known) or _begun(name, known)
    # The prefix may be the misspelt part.
    near = one_letter_off(head, ["inkmill"]) and tail.lower() in known
    return tail.lower() if near else None


def _name(variable: str) -> str:
    return variable.lower().removeprefix(PREFIX.lower())


def _nearest(name: str, known: Collection[str]) -> str | None:
    """The setting nearest to a key, which may also be a setting's beginning, or one in other words."""
    words = name.strip("_").replace("-", "_")
    continued = next((setting for setting in known if words.startswith(f"{setting}_")), None)
    return nearest(words, known) or _begun(words, known) or continued


def _begun(name: str, known: Collection[str]) -> str | None:
    """The setting that a name such as `database` begins."""
    return next((setting for setting in known if setting.startswith(f"{name}_")), None)
