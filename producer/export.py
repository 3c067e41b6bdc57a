"""Exports: a job's outputs in one file, and its dead and cancelled prompts in another next to it.

Decides whether and what to export; `producer.write` knows the formats and how files are written.
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
from db.record import record_outside
from db.results.export_rows import SELECTIONS, LostPrompt, Results, StoredOutput, reading_judged_results
from db.session.engine import Database
from producer.write.csv import write_csv
from producer.write.export_lines import ExportLines
from producer.write.jsonl import write_jsonl, write_lost_jsonl
from producer.write.new_file import check_target, compressed, spooled_to_standard_output
from producer.write.openai import write_lost_openai, write_openai
from producer.write.parquet import write_parquet
from producer.write.target import MayReplace, Target, canonical_path

STDOUT = Path("-")
ON_FLAG = ("keep", "redact")

WRITERS: dict[str, Callable[[Iterable[StoredOutput], ExportLines, BinaryIO], int]] = {
    "jsonl": write_jsonl,
    "csv": write_csv,
    "parquet": write_parquet,
    "openai": write_openai,
}
EXPORT_EXTENSIONS = {".csv": "csv", ".parquet": "parquet"}
"""With any other extension, including .jsonl and .json, the format is JSONL."""
COMPRESSION_EXTENSIONS = {".gz": "gz", ".zst": "zst"}

IF_TAKEN = "name another file with -o, move this one away, or replace it with --force"
IF_ERRORS_TAKEN = "dead and cancelled prompts go there: name another file with -o, or move this one away"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What an export wrote."""

    path: Path  # "-" = standard output
    errors_path: Path | None  # None = no dead or cancelled prompts, or standard output
    rows: int  # outputs
    errors: int  # dead and cancelled prompts
    format: str
    job: JobSnapshot  # the job at the moment that both files describe


def parse_only(only: str, safety: str) -> tuple[str, ...]:
    """The selections of outputs named by `--only`.

    Args:
        only: names separated by commas.
        safety: the job's classifier, or "none".

    Raises:
        UsageError: a name is unknown, or it asks for clean texts of an unscored job.
    """
    return _check_selections([name.strip() for name in only.split(",") if name.strip()], safety)


def export_job(
    database: Database,
    job_id: int,
    out: Path | None,
    *,
    format: str | None = None,
    only: Sequence[str] = ("all",),
    allow_empty: bool = False,
    on_flag: str | None = None,
    force: bool = False,
) -> ExportReport:
    """Writes a job's outputs to `out`, by position and sample, and its dead and cancelled prompts next to it.

    The prompts go to `OUT.errors.jsonl`; an older such file is removed if there are none. Both files describe one
    moment, appear complete or not at all, and replace only what was written there for the same job. With standard
    output there is no second file: the prompts are only counted. An unfinished job is exported as far as it has come.

    Flags follow the job's policy: an unfinished reflag is finished first.

    An export without outputs is refused, so that nobody trains on an empty file. There are two exceptions: with
    `allow_empty`, and if `only` is "all" and there are dead or cancelled prompts, which are then written.

    Args:
        out: a file; None or "-" is standard output.
        format: a name of `WRITERS`; None = by file extension, else JSONL.
        only: names of selections; an output in any of them is exported.
        allow_empty: write a file even if it has no output in it.
        on_flag: "keep" or "redact" flagged texts; None = as the job says.
        force: replace `out` whatever it is, and the file of dead prompts of any job.

    Raises:
        UsageError: the job, the file or the selection cannot be used; nothing was written.
        InkmillError: the disk is full, or fails; an older file stays intact.
    """
    job = get_job(database, job_id)
    if job.status == JobStatus.INGESTING:
        raise UsageError(f"job {job_id} is still being submitted; wait until that command ends, then export")
    target = None if out in (None, STDOUT) else out
    plan = _Export(database, job, target, format, _check_selections(only, job.safety), allow_empty, on_flag, force)
    return plan.run()


def errors_path(out: Path) -> Path:
    """The file of dead and cancelled prompts, next to the export."""
    return out.with_name(out.name + ".errors.jsonl")


def export_targets(database: Database, out: Path, job_id: int, *, force: bool) -> tuple[Target, Target]:
    """The two files of an export, checked before any work begins.

    Args:
        job_id: the job's number, or `NEW_JOB`.

    Raises:
        UsageError: no file can be created there, or another file exists that may not be replaced.
    """
    errors = errors_path(out)
    check_target(out)
    check_target(errors)
    for_out, for_errors = (
        (MayReplace.ANY_FILE, MayReplace.ANY_JOB) if force else (MayReplace.SAME_JOB, MayReplace.SAME_JOB)
    )
    return Target(database, out, job_id, IF_TAKEN, for_out), Target(
        database, errors, job_id, IF_ERRORS_TAKEN, for_errors
    )


class _Export:
    """One export, checked before it begins."""

    def __init__(
        self,
        database: Database,
        job: JobRow,
        out: Path | None,
        format: str | None,
        only: tuple[str, ...],
        allow_empty: bool,
        on_flag: str | None,
        force: bool,
    ) -> None:
        self.database, self.job, self.only, self.allow_empty = database, job, only, allow_empty
        self.format, self.compression = parse_format(format, out)
        self.redacted = _is_redacting(job.on_flag if on_flag is None else on_flag)
        self.lines = ExportLines(job.id, redact=self.redacted)
        self.target: Target | None = None
        self.errors_target: Target | None = None
        if out is not None:
            self.target, self.errors_target = export_targets(database, out, job.id, force=force)

    def run(self) -> ExportReport:
        # Files get their names, and standard output is written, only once all reading is done.
        with ExitStack() as files:
            with reading_judged_results(self.database, self.job) as results:
                snapshot = results.status()
                rows, errors = self._write(results, snapshot, files)
            self._record(rows, errors)
        if self.errors_target and not errors:
            self.errors_target.remove()
        return ExportReport(
            path=self.target.path if self.target else STDOUT,
            errors_path=self.errors_target.path if self.errors_target and errors else None,
            rows=rows,
            errors=errors,
            format=self.format,
            job=snapshot,
        )

    def _record(self, rows: int, errors: int) -> None:
        path = canonical_path(self.target.path).decode("utf-8", "backslashreplace") if self.target else str(STDOUT)
        what = {"path": path, "format": self.format, "only": list(self.only), "redacted": self.redacted}
        record_outside(self.database, "export", self.job.id, what | {"rows": rows, "errors": errors})

    def _write(self, results: Results, snapshot: JobSnapshot, files: ExitStack) -> tuple[int, int]:
        """Writes outputs and lost prompts. Returns how many of each."""
        with closing(results.outputs(self.only)) as outputs, closing(results.lost_prompts()) as lost:
            first = next(outputs, None)
            if first is None:
                self._check_empty(snapshot)
            # Before the outputs: if even this does not fit on the disk, stop here.
            errors = self._write_errors(lost, files)
            file = files.enter_context(self._opened())
            return WRITERS[self.format](outputs if first is None else chain([first], outputs), self.lines, file), errors

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
        write = write_lost_openai if self.format == "openai" else write_lost_jsonl
        return write(chain([first], lost), self.job.id, file)

    def _check_empty(self, job: JobSnapshot) -> None:
        if self.allow_empty or ("all" in self.only and job.dead + job.cancelled):
            return
        if not job.generated:
            raise UsageError(
                f"job {job.id} has no outputs yet, it is {job.status}; follow it with 'inkmill watch {job.id}', "
                "or use --allow-empty for an empty file"
            )
        raise UsageError(
            f"job {job.id} has {job.generated:,} outputs ({job.scored:,} scored, {job.flagged:,} flagged), and none "
            f"of them is {' or '.join(self.only)}; use --only all, or --allow-empty for an empty file"
        )


def _check_selections(only: Sequence[str], safety: str) -> tuple[str, ...]:
    for name in only:
        if name not in SELECTIONS:
            hint = did_you_mean(name, SELECTIONS, "use some of " + ", ".join(SELECTIONS))
            raise UsageError(f"--only {name}: is not a selection of outputs; {hint}")
    if not only:
        raise UsageError("--only: selects no outputs; use some of " + ", ".join(SELECTIONS))
    if "clean" in only and safety == NO_SAFETY:
        raise UsageError("--only clean: this job has safety none, so none of its texts was scored; use --only all")
    return tuple(dict.fromkeys(only))


def _is_redacting(on_flag: str) -> bool:
    if on_flag not in ON_FLAG:
        raise UsageError(f"--on-flag {on_flag}: must be {' or '.join(ON_FLAG)}")
    return on_flag == "redact"


def parse_format(asked_format: str | None, target: Path | None) -> tuple[str, str]:
    """The format and the compression of an export, "" for none.

    Raises:
        UsageError: there is no such format, or it cannot be written there.
    """
    if asked_format is not None and asked_format not in WRITERS:
        hint = did_you_mean(asked_format, WRITERS, "use one of " + ", ".join(WRITERS))
        raise UsageError(f"--format {asked_format}: is not an export format; {hint}")
    name = target.name.lower() if target else ""
    compression = COMPRESSION_EXTENSIONS.get(Path(name).suffix, "")
    format = asked_format or EXPORT_EXTENSIONS.get(Path(Path(name).stem if compression else name).suffix, "jsonl")
    if format == "parquet" and compression:
        raise UsageError(f"-o {target}: Parquet is already compressed; leave out .{compression}")
    if format == "parquet" and target is None and sys.stdout is not None and sys.stdout.isatty():
        raise UsageError("-o -: Parquet is binary; name a file, or redirect standard output")
    return format, compression
