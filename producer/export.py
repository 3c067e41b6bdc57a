"""Exports: a job's outputs as one file, and its dead and cancelled prompts as another beside it.

Decides whether and what to export; the formats are in `write`, and the file handling in `write.new_file`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from common.near_misses import did_you_mean
from contract.errors import UsageError
from contract.policy import NO_SAFETY
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
"""The format by file extension; any other one, including .jsonl and .json, is JSONL."""
COMPRESSIONS = {".gz": "gz", ".zst": "zst"}

OR_FORCE = "name another file with -o, move this one away, or replace it with --force"
BESIDE = "dead and cancelled prompts go there: name another file with -o, or move this one away"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What an export wrote."""

    path: Path  # "-" = standard output
    errors_path: Path | None  # None = no dead or cancelled prompts, or standard output
    rows: int  # outputs
    errors: int  # dead and cancelled prompts
    form: str
    job: JobSnapshot  # the job at the moment that both files describe


def read_only(only: str, safety: str) -> tuple[str, ...]:
    """The selections named by `--only`.

    Args:
        only: names separated by commas.
        safety: the job's classifier, or "none".

    Raises:
        UsageError: a name is unknown, or it asks for clean texts of an unscored job.
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

    The prompts go to `OUT.errors.jsonl`; an older such file is removed if there are none. Both files describe one
    moment, appear complete or not at all, and replace only what was written there for the same job. With standard
    output there is no second file: the prompts are only counted. An unfinished job is exported as far as it is.

    Flags follow the job's policy: an unfinished reflag is finished first.

    An export without outputs is refused, so that nobody trains on nothing, unless it is asked for, or all outputs are
    wanted and there are dead or cancelled prompts: then an empty file and the file of those prompts are written.

    Args:
        out: a file; None or "-" is standard output.
        form: a name of `FORMS`; None = by file extension, else JSONL.
        only: names of selections; an output in any of them is exported.
        allow_empty: write a file even if it has no output in it.
        on_flag: "keep" or "redact", overriding the job's own.
        force: replace `out` whatever it is, and the file of dead prompts of any job.

    Raises:
        UsageError: the job, the file or the selection cannot be used; nothing was written.
        InkmillError: the disk is full, or fails; an older file stays intact.
    """
    job = get_job(database, job_id)
    if job.status == JobStatus.INGESTING:
        raise UsageError(f"job {job_id} is still being submitted; wait until that command ends, then export")
    target = None if out in (None, STDOUT) else out
    plan = _Plan(database, job, target, form, _checked(only, job.safety), allow_empty, on_flag, force)
    return plan.carry_out()


def errors_path(out: Path) -> Path:
    """The file of dead and cancelled prompts, next to the export."""
    return out.with_name(out.name + ".errors.jsonl")


def find_targets(database: Database, out: Path, job_id: int, *, force: bool) -> tuple[Target, Target]:
    """The two files of an export, checked before any work.

    Args:
        job_id: the job's number, or `NEW_JOB`.

    Raises:
        UsageError: no file can be created there, or one exists that is not the job's own.
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
        # Files get their names, and standard output is written, only once all reading is done.
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
            # Before the outputs: if the disk is too full even for this, stop here.
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
                "or use --allow-empty for an empty file"
            )
        raise UsageError(
            f"job {now.id} has {now.generated:,} outputs ({now.scored:,} scored, {now.flagged:,} flagged), and none "
            f"of them is {' or '.join(self.only)}; use --only all, or --allow-empty for an empty file"
        )


def _checked(only: Sequence[str], safety: str) -> tuple[str, ...]:
    for name in only:
        if name not in SELECTIONS:
            hint = did_you_mean(name, SELECTIONS, "use some of " + ", ".join(SELECTIONS))
            raise UsageError(f"--only {name}: is not a selection of outputs; {hint}")
    if not only:
        raise UsageError("--only: selects no outputs; use some of " + ", ".join(SELECTIONS))
    if "clean" in only and safety == NO_SAFETY:
        raise UsageError("--only clean: this job has safety none, so none of its texts was scored; use --only all")
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
        hint = did_you_mean(said, FORMS, "use one of " + ", ".join(FORMS))
        raise UsageError(f"--format {said}: is not an export format; {hint}")
    name = target.name.lower() if target else ""
    compression = COMPRESSIONS.get(Path(name).suffix, "")
    form = said or ENDINGS.get(Path(Path(name).stem if compression else name).suffix, "jsonl")
    if form == "parquet" and compression:
        raise UsageError(f"-o {target}: Parquet is already compressed; leave out .{compression}")
    if form == "parquet" and target is None and sys.stdout is not None and sys.stdout.isatty():
        raise UsageError("-o -: Parquet is binary; name a file, or redirect standard output")
    return form, compression
