"""The errors a user can meet, and the exit code each one ends the program with.

InkmillError                 1  failed
├── UsageError               2  wrong use or bad input
│   ├── SettingsError           sampling settings that cannot be used, field by field
│   ├── BadInput                a prompt file with bad lines, each named
│   ├── DuplicateJob            the same bytes and settings were submitted before
│   └── NotFound                there is nothing of that number or name: NoSuchJob, NoSuchOutput, …
├── Unreachable              4  a service or a model cannot be reached
│   ├── DatabaseUnreachable
│   ├── QueueUnreachable
│   └── ModelUnavailable        a model or a classifier that cannot be loaded
├── Stale                    1  another reviewer decided first; nothing was stored
└── ClaimedByOther           1  another reviewer has claimed this output; nothing was stored

A message says what is wrong, where, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the `inkmill` command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 4
    DEAD_PROMPTS = 5
    INTERRUPTED = 130


class InkmillError(Exception):
    """An error to show to the user, without a traceback."""

    exit_code = ExitCode.FAILED


class UsageError(InkmillError):
    """The command or its input is invalid; nothing was changed."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem with one field."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class SettingsError(UsageError):
    """Sampling settings that cannot be used."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class BadLine:
    """One line of a prompt file that cannot be used. `number` counts from 1."""

    number: int
    problem: Problem

    def __str__(self) -> str:
        return f"line {self.number}: {self.problem}"


class BadInput(UsageError):
    """A prompt file with bad lines: the first ones, and the total."""

    def __init__(self, source: str, lines: Sequence[BadLine], total: int) -> None:
        self.source, self.lines, self.total = source, tuple(lines), total
        shown = "\n".join(f"  {line}" for line in self.lines)
        more = f"\n  … and {total - len(self.lines):,} more" if total > len(self.lines) else ""
        noun = "problem" if total == 1 else "problems"
        super().__init__(
            f"{source}: {total:,} {noun}; nothing was submitted\n{shown}{more}\n"
            "Fix the lines, or submit the rest with --skip-bad."
        )


class DuplicateJob(UsageError):
    """The same bytes and settings were submitted before."""

    def __init__(self, job_id: int) -> None:
        self.job_id = job_id
        super().__init__(
            f"this file was already submitted with these settings, as job {job_id}; "
            f"follow it with 'inkmill watch {job_id}', or submit it again with --again"
        )


class NotFound(UsageError):
    """There is nothing of that number or name."""


class NoSuchJob(NotFound):
    """There is no job of that number."""

    def __init__(self, job_id: int) -> None:
        super().__init__(f"there is no job {job_id}; 'inkmill jobs' lists what there is")


class NoSuchTuning(NotFound):
    """There is no tuning of that number."""

    def __init__(self, reference: int | str) -> None:
        named = f"t{reference}" if isinstance(reference, int) else repr(reference)
        super().__init__(f"there is no tuning {named}; tunings are called t1, t2, …, as 'inkmill tune' prints them")


class NoSuchModel(NotFound):
    """There is no model of one's own of that name."""

    def __init__(self, name: str, known: str = "") -> None:
        super().__init__(f"there is no model {name} of your own{known}; 'inkmill models' lists what there is")


class NoSuchOutput(NotFound):
    """There are no outputs of these numbers."""

    def __init__(self, *ids: int) -> None:
        shown = ", ".join(map(str, ids[:10])) + (" …" if len(ids) > 10 else "")
        what = f"there is no output {shown}" if len(ids) == 1 else f"there are no outputs {shown}"
        super().__init__(f"{what}; an export gives each output's number as `id`")


class Unreachable(InkmillError):
    """A service or a model cannot be reached."""

    exit_code = ExitCode.UNREACHABLE


class DatabaseUnreachable(Unreachable):
    """The SQL database does not answer."""


class QueueUnreachable(Unreachable):
    """Redis does not answer. SQL keeps everything; messages are sent again once it is back."""


class ModelUnavailable(Unreachable):
    """A model or a classifier cannot be loaded."""


class Stale(InkmillError):
    """Another reviewer decided first: nothing was stored."""

    def __init__(self, output_id: int, *, state: str, version: int, by: str, action: str, at: float | None) -> None:
        self.output_id, self.state, self.version = output_id, state, version
        self.by, self.action, self.at = by, action, at  # of the newest entry; "" and None where there is none
        what = f"{by} has since made it {state} ({action})" if by else f"it is now {state}"
        super().__init__(f"output {output_id}: {what}; review it again before you decide")


class ClaimedByOther(InkmillError):
    """Another reviewer is reviewing this output: nothing was stored."""

    def __init__(self, output_id: int, *, by: str, seconds: float) -> None:
        self.output_id, self.by, self.seconds = output_id, by, seconds
        super().__init__(
            f"output {output_id}: {by} is reviewing it; it is free again in at most {max(seconds, 1):.0f} s, "
            "or as soon as they decide"
        )
