"""What people call a job or a tuning by on the command line: 3 is a job, t3 a tuning."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

import typer

from contract.errors import UsageError

HELP = "The job's number, as listed by 'inkmill jobs', or a tuning's, such as t1."
LARGEST = 2**62

WorkId = Annotated[str, typer.Argument(metavar="JOB", help=HELP)]


@dataclass(frozen=True, slots=True)
class Reference:
    """A job or a tuning, by its number."""

    number: int
    is_tuning: bool


def read_reference(command: str, text: str) -> Reference:
    """What is meant.

    Raises:
        UsageError: neither a job nor a tuning can be called so.
    """
    found = re.fullmatch(r"(t?)([0-9]{1,19})", text, re.ASCII)
    if found and 1 <= int(found[2]) <= LARGEST:
        return Reference(int(found[2]), is_tuning=bool(found[1]))
    purpose = HELP[0].lower() + HELP[1:].rstrip(".")
    raise UsageError(
        f"{command}: JOB {text!r}: must be a whole number, 1 or more: {purpose}. See 'inkmill help {command}'"
    )
