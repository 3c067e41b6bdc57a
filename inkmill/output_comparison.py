"""A stored output compared with its reproduction: whether they are the same, and what differs.

Texts and numbers only; nothing is generated here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from common.wording import counted
from contract.spec import NOT_BUILT_IN, Provenance, is_written_in_groups
from db.results.reproduction import OutputRecord
from worker.engine.sequence import Completion, Fault

RESULT = ("text", "finish_reason", "tokens")
"""What must be the same."""

PROVENANCE = ("revision", "engine", "torch", "device", "isa", "dtype", "numerics")
"""What can explain a difference."""

NUMERICS_CAUSES = ("threads", "processor", "onednn", "variables")
"""What can explain different numerics; it has no effect where those are the same."""

EXCERPT_MARGIN = 20
"""Characters shown before and after the point where two texts diverge."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference."""

    what: str  # of RESULT, PROVENANCE or NUMERICS_CAUSES
    stored: str | int
    here: str | int
    at: int | None = None  # of texts: the length of their common prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputComparison:
    """One output, stored and reproduced."""

    id: int
    job_id: int
    differs: tuple[Difference, ...]
    stored_logprob: float | None
    here_logprob: float | None  # None = no text was generated
    fault: str | None = None  # why no text was generated
    in_groups: bool = False  # it was written beside others, by an engine that promises less than slots do

    @property
    def same(self) -> bool:
        """Whether text, finish_reason and tokens are equal; mean log-probability and provenance do not count."""
        return self.fault is None and not any(difference.what in RESULT for difference in self.differs)


def compare(record: OutputRecord, result: Completion | Fault, here: Provenance) -> OutputComparison:
    """A record compared with an engine's result; `here` is the provenance of that result."""
    fault = result.reason if isinstance(result, Fault) else None
    outcome = () if isinstance(result, Fault) else _differences(RESULT, record, result)
    return OutputComparison(
        id=record.id,
        job_id=record.job_id,
        differs=(*outcome, *_provenance_differences(record.made_by, here)),
        stored_logprob=record.mean_logprob,
        here_logprob=None if isinstance(result, Fault) else result.mean_logprob,
        fault=fault,
        in_groups=is_written_in_groups(record.made_by.engine),
    )


def _provenance_differences(stored: Provenance, here: Provenance) -> tuple[Difference, ...]:
    if not stored.numerics:  # from an earlier version, which recorded less
        here = replace(here, numerics="", isa=here.isa.partition(" ")[0])
    differences = _differences(PROVENANCE, stored, here)
    return differences + (_differences(NUMERICS_CAUSES, stored, here) if stored.numerics != here.numerics else ())


def _differences(names: tuple[str, ...], stored: object, here: object) -> tuple[Difference, ...]:
    pairs = ((name, getattr(stored, name), getattr(here, name)) for name in names)
    return tuple(
        Difference(name, then, now, _common_prefix(then, now) if name == "text" else None)
        for name, then, now in pairs
        if then != now
    )


def _common_prefix(stored: str, here: str) -> int:
    """The length of the common prefix of two texts."""
    diverging = (place for place, (one, other) in enumerate(zip(stored, here, strict=False)) if one != other)
    return next(diverging, min(len(stored), len(here)))


def as_json(comparison: OutputComparison) -> dict[str, Any]:
    """The comparison as one object of `reproduce --json`."""
    return {
        "id": comparison.id,
        "job": comparison.job_id,
        "same": comparison.same,
        "differs": [
            {name: value for name, value in asdict(difference).items() if value is not None}
            for difference in comparison.differs
        ],
        "mean_logprob": {"stored": comparison.stored_logprob, "here": comparison.here_logprob},
        "fault": comparison.fault,
    }


def as_lines(comparison: OutputComparison) -> Iterator[str]:
    """The comparison for people."""
    yield f"output {comparison.id}: {'the same' if comparison.same else 'different'}"
    if comparison.fault is not None:
        yield f"  no text was generated: {comparison.fault}"
    for difference in comparison.differs:
        yield from _lines(difference)
    if not comparison.same:
        if not any(difference.what in (*PROVENANCE, *NUMERICS_CAUSES) for difference in comparison.differs):
            yield f"  the same here: {', '.join(PROVENANCE)}"
        if comparison.in_groups:
            yield _row("company", f"written in a group with others; {NOT_BUILT_IN}")
        if comparison.stored_logprob is not None and comparison.here_logprob is not None:
            stored, here = comparison.stored_logprob, comparison.here_logprob
            yield _row("mean_logprob", f"stored {stored:.4f}, here {here:.4f}")


def provenance_changes(comparisons: Iterable[OutputComparison]) -> Iterator[str]:
    """Changes in provenance, for people: a line for each, with the number of outputs affected."""
    changes = (d for comparison in comparisons for d in comparison.differs if d.what in (*PROVENANCE, *NUMERICS_CAUSES))
    for change, count in Counter(changes).items():
        for line in _lines(change):
            yield f"{line} ({counted(count, 'output')})"


def _lines(difference: Difference) -> Iterator[str]:
    stored, here = difference.stored, difference.here
    if difference.at is None:
        yield _row(difference.what, f"stored {_value(stored)}, here {_value(here)}")
        return
    agreement = f"the same up to character {difference.at:,}" if difference.at else "different from the first character"
    yield _row(difference.what, agreement)
    yield _row("", f"stored  {_excerpt(str(stored), difference.at)}")
    yield _row("", f"here    {_excerpt(str(here), difference.at)}")


def _row(name: str, text: str) -> str:
    return f"  {name:<15}{text}"


def _value(value: str | int) -> str:
    return "nothing" if value == "" else str(value)  # a GPU has no instruction set


def _excerpt(text: str, at: int) -> str:
    """A text around a position, quoted so that line breaks and control characters have no effect."""
    first, last = max(0, at - EXCERPT_MARGIN), at + EXCERPT_MARGIN
    return f"{'…' if first else ''}{text[first:last]!r}{'…' if last < len(text) else ''}"
