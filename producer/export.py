"""Exports: a job's outputs as one file, and its dead and cancelled prompts as another beside it.

Decides what is exported and whether; the forms are `writers`, the bytes' way is `new_file`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from contract.errors import UsageError
from contract.policy import NO_SAFETY
from contract.sampling import nearest
from contract.spec import JobStatus
from db.jobs.jobs import JobRow, get_job
from db.jobs.status import JobSnapshot
from db.results.export_rows import SELECTIONS, LostPrompt, Results, StoredOutput, reading_judged_results
from db.session.engine import Database
from producer.write.csv import write_csv
from producer.write.jsonl import write_jsonl, write_lost_jsonl
from producer.write.new_file import check_target, compressed, spooled_to_standard_output
from producer.write.openai import write_lost_openai, write_openai
from producer.write.output_line import Lines
from producer.write.parquet import write_parquet
from producer.write.target import MayReplace, Target

STDOUT = Path("-")
ON_FLAG = ("keep", "redact")

FORMS: dict[str, Callable[[Iterable[StoredOutput], Lines, BinaryIO], int]] = {
    "jsonl": write_jsonl,
    "csv": write_csv,
    "parquet": write_parquet,
    "openai": write_openai,
}
ENDINGS = {".csv": "csv", ".parquet": "parquet"}
"""The form that a file's name asks for; every other ending, .jsonl and .json among them, is JSONL."""
COMPRESSIONS = {".gz": "gz", ".zst": "zst"}

OR_FORCE = "name another file with -o, move this one away, or say --force to replace it"
BESIDE = "dead and cancelled prompts go there: name another file with -o, or move this one away"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What an export wrote."""

    path: Path  # "-" = standard output
    errors_path: Path | None  # None = no prompt is dead or cancelled, or there is no file to put them beside
    rows: int  # outputs
    errors: int  # dead and cancelled prompts
    form: str
    job: JobSnapshot  # how the job stood at the moment of which both files tell


def read_only(only: str, safety: str) -> tuple[str, ...]:
    """What `--only` says, as names of selections.

    Args:
        only: names with commas between them.
        safety: the job's classifier, or "none".

    Raises:
        UsageError: a name is unknown, or it asks for clean texts that nobody scores.
    """
    return _checked([name.strip() for name in only.split(",") if name.strip()], safety)


def export_job(
    database: Database,
    job_id: int,
    out: Path | None,
    *,
    form: str | None = None,
    only: Sequence[str] = ("all",),
    allow_empty: bool = False,
    on_flag: str | None = None,
    force: bool = False,
) -> ExportReport:
    """Writes a job's outputs to `out`, by position and sample, and its dead and cancelled prompts beside it.

    The prompts go to `OUT.errors.jsonl`; an older such file is removed where there are none. Both files tell of one
    moment, appear whole or not at all, and take the place of nothing but what was written there of the same job.
    Standard output has no file beside it: there the prompts are counted only. An unfinished job is exported as far as
    it is.

    Every flag in it is by the policy that the job states: a reflag that is not done is finished first.

    An export without an output is refused, so that nobody trains on nothing, except where it is asked for, and where
    all outputs are wanted and there are dead or cancelled prompts to tell of: then an empty file and the file of
    those prompts are written.

    Args:
        out: a file; None or "-" is standard output.
        form: a name of `FORMS`; None = by the file's ending, else JSONL.
        only: names of selections; an output that any of them takes is exported.
        allow_empty: write a file even if it has no output in it.
        on_flag: "keep" or "redact" in place of what the job was submitted with.
        force: replace `out` whatever it is, and beside it the dead prompts of whichever job.

    Raises:
        UsageError: the job, the file or the selection cannot be used; nothing was written.
        InkmillError: the disk is full, or fails; an older file is still whole.
    """
    job = get_job(database, job_id)
    if job.status == JobStatus.INGESTING:
        raise UsageError(f"job {job_id} is still being submitted; wait until that command ends, then export")
    target = None if out in (None, STDOUT) else out
    plan = _Plan(database, job, target, form, _checked(only, job.safety), allow_empty, on_flag, force)
    return plan.carry_out()


def errors_path(out: Path) -> Path:
    """Where dead and cancelled prompts go: beside the export."""
    return out.with_name(out.name + ".errors.jsonl")


def find_targets(database: Database, out: Path, job_id: int, *, force: bool) -> tuple[Target, Target]:
    """The names of an export's two files, checked before any work.

    Args:
        job_id: the job's number, or `NEW_JOB`.

    Raises:
        UsageError: no file can appear there, or one lies there that is not the job's own.
    """
    errors = errors_path(out)
    check_target(out)
    check_target(errors)
    for_out, for_errors = (MayReplace.ANY, MayReplace.OURS) if force else (MayReplace.OWN, MayReplace.OWN)
    return Target(database, out, job_id, OR_FORCE, for_out), Target(database, errors, job_id, BESIDE, for_errors)


class _Plan:
    """One export, checked before it begins."""

    def __init__(
        self,
        database: Database,
        job: JobRow,
        out: Path | None,
        form: str | None,
        only: tuple[str, ...],
        allow_empty: bool,
        on_flag: str | None,
        force: bool,
    ) -> None:
        self.database, self.job, self.only, self.allow_empty = database, job, only, allow_empty
        self.form, self.compression = read_form(form, out)
        self.lines = Lines(job.id, redact=_redacts(job.on_flag if on_flag is None else on_flag))
        self.target: Target | None = None
        self.errors_target: Target | None = None
        if out is not None:
            self.target, self.errors_target = find_targets(database, out, job.id, force=force)

    def carry_out(self) -> ExportReport:
        # Files take their names, and standard output is written, once nothing is read any more.
        with ExitStack() as files, reading_judged_results(self.database, self.job) as results:
            now = results.status()
            rows, errors = self._write(results, now, files)
        if self.errors_target and not errors:
            self.errors_target.remove()
        return ExportReport(
            path=self.target.path if self.target else STDOUT,
            errors_path=self.errors_target.path if self.errors_target and errors else None,
            rows=rows,
            errors=errors,
            form=self.form,
            job=now,
        )

    def _write(self, results: Results, now: JobSnapshot, files: ExitStack) -> tuple[int, int]:
        """Writes outputs and lost prompts. Returns how many of each."""
        with closing(results.outputs(self.only)) as outputs, closing(results.lost_prompts()) as lost:
            first = next(outputs, None)
            if first is None:
                self._check_empty(now)
            # Before the outputs: where the disk is too full for this little, no more is tried.
            errors = self._write_errors(lost, files)
            file = files.enter_context(self._opened())
            return FORMS[self.form](outputs if first is None else chain([first], outputs), self.lines, file), errors

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        with (
            self.target.file() if self.target else spooled_to_standard_output() as file,
            compressed(file, self.compression) as inner,
        ):
            yield inner

    def _write_errors(self, lost: Iterator[LostPrompt], files: ExitStack) -> int:
        first = next(lost, None)
        if first is None or self.errors_target is None:
            return sum(1 for _ in lost) + (first is not None)
        file = files.enter_context(self.errors_target.file())
        write = write_lost_openai if self.form == "openai" else write_lost_jsonl
        return write(chain([first], lost), self.job.id, file)

    def _check_empty(self, now: JobSnapshot) -> None:
        if self.allow_empty or ("all" in self.only and now.dead + now.cancelled):
            return
        if not now.generated:
            raise UsageError(
                f"job {now.id} has no outputs yet, it is {now.status}; follow it with 'inkmill watch {now.id}', "
                "or say --allow-empty for an empty file"
            )
        raise UsageError(
            f"job {now.id} has {now.generated:,} outputs ({now.scored:,} scored, {now.flagged:,} flagged), and none "
            f"of them is {' or '.join(self.only)}; say --only all, or --allow-empty for an empty file"
        )


def _checked(only: Sequence[str], safety: str) -> tuple[str, ...]:
    for name in only:
        if name not in SELECTIONS:
            near = nearest(name, SELECTIONS)
            hint = f"did you mean {near}?" if near else "use some of " + ", ".join(SELECTIONS)
            raise UsageError(f"--only {name}: is not a choice of outputs; {hint}")
    if not only:
        raise UsageError("--only: names no outputs; use some of " + ", ".join(SELECTIONS))
    if "clean" in only and safety == NO_SAFETY:
        raise UsageError("--only clean: this job has safety none, so no text of it was scored; say --only all")
    return tuple(dict.fromkeys(only))


def _redacts(on_flag: str) -> bool:
    if on_flag not in ON_FLAG:
        raise UsageError(f"--on-flag {on_flag}: must be {' or '.join(ON_FLAG)}")
    return on_flag == "redact"


def read_form(said: str | None, target: Path | None) -> tuple[str, str]:
    """The form and the compression, "" for none.

    Raises:
        UsageError: there is no such form, or it cannot go there.
    """
    if said is not None and said not in FORMS:
        near = nearest(said, FORMS)
        hint = f"did you mean {near}?" if near else "use one of " + ", ".join(FORMS)
        raise UsageError(f"--format {said}: is not a form of export; {hint}")
    name = target.name.lower() if target else ""
    compression = COMPRESSIONS.get(Path(name).suffix, "")
    form = said or ENDINGS.get(Path(Path(name).stem if compression else name).suffix, "jsonl")
    if form == "parquet" and compression:
        raise UsageError(f"-o {target}: Parquet is compressed inside already; leave out .{compression}")
    if form == "parquet" and target is None and sys.stdout is not None and sys.stdout.isatty():
        raise UsageError("-o -: Parquet is no text for a terminal; name a file, or send standard output to one")
    return form, compression
