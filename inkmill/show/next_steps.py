"""What a person may want to do after a run: the commands that fit the job, each with what it is for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from contract.policy import NO_SAFETY
from db.insights.failures import FailureGroup
from db.insights.flaws import FlawCounts
from db.jobs.status import JobSnapshot
from inkmill.show.display import retry_commands
from producer.export import STDOUT

Step = tuple[str, tuple[str, ...]]
"""What for, and the command's words."""


def next_steps(job: JobSnapshot, export: Path, flaws: FlawCounts, groups: Sequence[FailureGroup]) -> Iterator[Step]:
    """The commands that fit a job whose run has ended.

    Args:
        export: the file that the run wrote; others are named after it.
        flaws: its worthless texts.
        groups: why its prompts are dead.
    """
    number = str(job.id)
    for words in retry_commands(job, groups):
        yield "try again what failed or was cancelled", words
    if job.pending_review:
        texts = "text" if job.pending_review == 1 else f"texts ({job.pending_review:,})"
        yield f"read the flagged {texts} and decide", ("web",)
    if job.flagged and job.safety != NO_SAFETY:
        yield "export the rest without them", ("export", number, "-o", _beside(export, "clean"), "--only", "clean")
    if flaws.found:
        without = ",".join(flaws.found)
        yield (
            f"export without what is {without}",
            ("export", number, "-o", _beside(export, "whole"), "--without", without),
        )
    if job.generated:
        yield "see all of it on one page", ("report", number)
    if job.model == "demo":
        yield "run your own prompts with a real model", ("run", "FILE", "--model", "gpt2", "--safety", "original")


def _beside(export: Path, what: str) -> str:
    """A file beside the export, for a part of it."""
    if export == STDOUT:
        return f"{what}.jsonl"
    kind = "".join(export.suffixes[-2:]) if export.suffix in (".gz", ".zst") else export.suffix
    return str(export.with_name(f"{export.name.removesuffix(kind)}.{what}{kind or '.jsonl'}"))
