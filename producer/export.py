"""Exports: a job's outputs in one file, and its dead and cancelled prompts in another next to it.

Decides whether and what to export; `producer.write` knows the formats and how files are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from common.near_misses import did_you_mean
from common.wording import counted
from contract.errors import UsageError
from contract.policy import NO_SAFETY
from contract.spec import JobStatus
from contract.text_flaws import TextFlaw
from db.jobs.jobs import JobRow, get_job
from db.jobs.status import JobSnapshot
from db.record import record_outside
from db.results.export_rows import SELECTIONS, LostPrompt, Results, StoredOutput, reading_judged_results
from db.session.engine import Database
from producer.write.csv import write_csv, write_spreadsheet_csv
from producer.write.export_lines import ExportLines
from producer.write.form import ExportForm, parse_form
from producer.write.jsonl import write_jsonl, write_lost_jsonl
from producer.write.metadata_columns import metadata_columns
from producer.write.new_file import check_target, compressed, spooled_to_standard_output
from producer.write.openai import write_lost_openai, write_openai
from producer.write.parquet import write_parquet
from producer.write.table import COLUMNS, Table
from producer.write.target import MayReplace, Target, canonical_path

STDOUT = Path("-")
ON_FLAG = ("keep", "redact")

WRITERS: dict[str, Callable[[Iterable[StoredOutput], ExportLines, BinaryIO], int]] = {
    "jsonl": write_jsonl,
    "openai": write_openai,
}
TABLE_WRITERS: dict[str, Callable[[Iterable[StoredOutput], Table, BinaryIO], int]] = {
    "csv": write_csv,
    "parquet": write_parquet,
}

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


def parse_without(without: str) -> tuple[TextFlaw, ...]:
    """The flaws named by `--without`, separated by commas.

    Raises:
        UsageError: a name is unknown.
    """
    names = [name.strip() for name in without.split(",") if name.strip()]
    for name in names:
        if name not in list(TextFlaw):
            hint = did_you_mean(name, list(TextFlaw), "use some of " + ", ".join(TextFlaw))
            raise UsageError(f"--without {name}: is not a flaw of a text; {hint}")
    return tuple(map(TextFlaw, dict.fromkeys(names)))


def export_job(
    database: Database,
    job_id: int,
    out: Path | None,
    *,
    format: str | None = None,
    only: Sequence[str] = ("all",),
    without: Sequence[TextFlaw] = (),
    flat: bool = False,
    for_spreadsheets: bool = False,
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
        format: jsonl, csv, parquet or openai; None = by file extension.
        only: names of selections; an output in any of them is exported.
        without: outputs whose text has one of these flaws are left out.
        flat: of a table: each key of the metadata is a column.
        for_spreadsheets: of CSV: no cell can be taken for a formula.
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
    form = parse_form(format, target, flat=flat, for_spreadsheets=for_spreadsheets)
    chosen = _Chosen(_check_selections(only, job.safety), tuple(without), allow_empty)
    redact = _is_redacting(job.on_flag if on_flag is None else on_flag)
    return _Export(database, job, target, form, chosen, redact=redact, force=force).run()


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


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Which outputs an export has in it."""

    only: tuple[str, ...]  # selections, any of which takes an output
    without: tuple[TextFlaw, ...]
    allow_empty: bool  # there may be none

    def __str__(self) -> str:
        without = f" without {', '.join(self.without)}" if self.without else ""
        return " or ".join(self.only) + without


class _Export:
    """One export, checked before it begins."""

    def __init__(
        self,
        database: Database,
        job: JobRow,
        out: Path | None,
        form: ExportForm,
        chosen: _Chosen,
        *,
        redact: bool,
        force: bool,
    ) -> None:
        self.database, self.job, self.form, self.chosen, self.redact = database, job, form, chosen, redact
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
            format=self.form.format,
            job=snapshot,
        )

    def _record(self, rows: int, errors: int) -> None:
        path = canonical_path(self.target.path).decode("utf-8", "backslashreplace") if self.target else str(STDOUT)
        what = {
            "path": path,
            "format": self.form.format,
            "only": list(self.chosen.only),
            "without": list(self.chosen.without),
            "redacted": self.redact,
        }
        record_outside(self.database, "export", self.job.id, what | {"rows": rows, "errors": errors})

    def _write(self, results: Results, snapshot: JobSnapshot, files: ExitStack) -> tuple[int, int]:
        """Writes outputs and lost prompts. Returns how many of each."""
        made_up_ids = results.made_up_ids() if self.form.format == "openai" else ""
        lines = ExportLines(self.job.id, redact=self.redact, made_up_ids=made_up_ids)
        write = self._writer(lines, results)
        with (
            closing(results.outputs(self.chosen.only, self.chosen.without)) as outputs,
            closing(results.lost_prompts()) as lost,
        ):
            first = next(outputs, None)
            if first is None:
                self._check_empty(snapshot)
            # Before the outputs: if even this does not fit on the disk, stop here.
            errors = self._write_errors(lost, lines, files)
            file = files.enter_context(self._opened())
            return write(outputs if first is None else chain([first], outputs), file), errors

    def _writer(self, lines: ExportLines, results: Results) -> Callable[[Iterable[StoredOutput], BinaryIO], int]:
        if self.form.format in WRITERS:
            return lambda outputs, file: WRITERS[self.form.format](outputs, lines, file)
        # A pass of its own over the metadata: only after the last prompt is it known which columns there are.
        table = Table(lines, metadata_columns(results.metadata(), COLUMNS) if self.form.flat else None)
        write = write_spreadsheet_csv if self.form.for_spreadsheets else TABLE_WRITERS[self.form.format]
        return lambda outputs, file: write(outputs, table, file)

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        with (
            self.target.file() if self.target else spooled_to_standard_output() as file,
            compressed(file, self.form.compression) as inner,
        ):
            yield inner

    def _write_errors(self, lost: Iterator[LostPrompt], lines: ExportLines, files: ExitStack) -> int:
        first = next(lost, None)
        if first is None or self.errors_target is None:
            return sum(1 for _ in lost) + (first is not None)
        file = files.enter_context(self.errors_target.file())
        write = write_lost_openai if self.form.format == "openai" else write_lost_jsonl
        return write(chain([first], lost), lines, file)

    def _check_empty(self, job: JobSnapshot) -> None:
        if self.chosen.allow_empty or ("all" in self.chosen.only and job.dead + job.cancelled):
            return
        if not job.generated:
            raise UsageError(
                f"job {job.id} has no outputs yet, it is {job.status}; follow it with 'inkmill watch {job.id}', "
                "or use --allow-empty for an empty file"
            )
        raise UsageError(
            f"job {job.id} has {counted(job.generated, 'output')} ({job.scored:,} scored, {job.flagged:,} flagged), "
            f"and none of them is {self.chosen}; use --only all{' or less of --without' if self.chosen.without else ''}"
            ", or --allow-empty for an empty file"
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
