"""The summary of a job, for people: what was submitted, how much, how fast, a few texts, what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path

from rich.markup import escape

from common.times import duration
from common.wording import counted, folded, on_one_line
from contract.errors import DatabaseUnreachable, UsageError
from contract.model_kinds.hub_model import HubModel
from contract.model_kinds.paths import local_path
from contract.names import folder_of_that_name
from contract.policy import NO_SAFETY
from db.insights.failures import FailureGroup
from db.insights.flaws import FlawCounts
from db.insights.pace import Pace
from db.jobs.jobs import get_job
from db.jobs.reflag import unfinished_reflags
from db.jobs.status import JobSnapshot
from db.results.export_rows import StoredOutput, reading_results
from db.session.engine import Database
from inkmill.show.display import command_line
from inkmill.show.next_steps import next_steps
from inkmill.show.terminal import messages
from producer.export import ExportReport
from producer.read.prompt_file import PromptFile
from producer.submit import SubmittedJob

SHOWN_TEXTS, SHOWN_PROMPT, SHOWN_CHARACTERS = 3, 60, 300


def print_submitted(file: PromptFile, submitted: SubmittedJob) -> None:
    """Prints what was submitted."""
    messages.print(
        f"job {submitted.job_id}: {counted(submitted.prompts, 'prompt')} of {on_one_line(file.name)}, "
        f"{counted(submitted.outputs, 'output')}, model {on_one_line(submitted.model)}, seed {submitted.seed}",
        markup=False,
    )
    for remark in (*file.remarks, *submitted.remarks):
        messages.print(f"note: {remark}", markup=False)
    if file.model and not _means(file.model, submitted.model):
        messages.print(f"note: --model {submitted.model} wins over {file.model!r}, which its lines name", markup=False)
    if beside := folder_of_that_name(submitted.model):
        messages.print(f"note: {beside}", markup=False)
    if submitted.bad_lines:
        messages.print(
            f"{counted(submitted.bad_lines, 'bad line')} skipped and written to {submitted.bad_path}", markup=False
        )


def _means(named: str, model: str) -> bool:
    """Whether a model that a file names is the job's, perhaps in a revision that the command names."""
    with suppress(UsageError):
        named = str(local_path(named) or named)
    return named in (model, HubModel.parse(model).id)


def note_reflag(database: Database, job_id: int) -> None:
    """Says why an export or a report may take longer than usual."""
    if job_id in unfinished_reflags(database):
        messages.print(f"job {job_id}: finishing an interrupted reflag first")


def note_unfinished(job: JobSnapshot) -> None:
    """Says what an export of an unfinished job lacks."""
    if not job.finished:
        messages.print(
            f"note: job {job.id} is {job.status}, so this is incomplete: "
            f"{job.generated:,} of {counted(job.outputs, 'text')}, {job.settled:,} of them scored",
            markup=False,
        )


def print_summary(
    database: Database, report: ExportReport, pace: Pace, flaws: FlawCounts, groups: Sequence[FailureGroup]
) -> None:
    """The summary, on standard error: standard output is for data."""
    say, job = messages.print, report.job
    note_unfinished(job)
    share = f" ({job.flagged / job.settled:.0%})" if job.settled else ""
    say(f"\n[bold]job {job.id} {job.status}[/bold] in {duration(job.seconds)}")
    say(f"  texts     {job.generated:,} of {job.outputs:,}, from {counted(job.prompts, 'prompt')}")
    if flaws.found:
        say(f"  of these  {flaws}")
    if job.safety != NO_SAFETY:
        say(f"  flagged   {job.flagged:,}{share} by {escape(job.safety)}")
    say(f"  tokens    {job.generated_tokens:,}, {pace.average:,.0f} a second")
    for group in groups:
        say(f"  dead      {group.prompts:,}: {group.code}: {on_one_line(group.reason)}", markup=False)
        say(f"            {group.remedy.advice}", markup=False)
    if job.generated:
        _print_texts(database, job)
    say(f"  database  {database.address}", markup=False)
    say(f"  export    {on_one_line(str(report.path))} ({counted(report.rows, 'row')})", markup=False)
    if report.errors_path:
        lost = counted(report.errors, "dead or cancelled prompt")
        say(f"  errors    {on_one_line(str(report.errors_path))} ({lost})", markup=False)
    _print_next(job, report.path, flaws, groups)


def _print_texts(database: Database, job: JobSnapshot) -> None:
    try:
        samples = _some_texts(database, job)
    except DatabaseUnreachable:  # the export is written; these are only samples of it
        return
    messages.print("\n  samples")
    for sample in samples:
        prompt = folded(sample.prompt, SHOWN_PROMPT) or "(no prompt)"
        messages.print(f"  · [bold]{escape(prompt)}[/bold] {_shown_text(sample)}")
    if any(sample.flagged for sample in samples):
        messages.print(f"    Flagged texts are covered here; to read them: {command_line('web')}", markup=False)
    messages.print("")


def _shown_text(sample: StoredOutput) -> str:
    if sample.flagged:
        reasons = escape(on_one_line(", ".join(sample.flag_reasons)))
        return f"[red]({counted(len(sample.text), 'character')}, flagged: {reasons})[/red]"
    return escape(folded(sample.text, SHOWN_CHARACTERS))


def _some_texts(database: Database, job: JobSnapshot) -> list[StoredOutput]:
    with reading_results(database, get_job(database, job.id)) as results, closing(results.outputs()) as stored:
        return list(islice((output for output in stored if output.sample_index == 0), SHOWN_TEXTS))


def _print_next(job: JobSnapshot, export: Path, flaws: FlawCounts, groups: Sequence[FailureGroup]) -> None:
    steps = list(next_steps(job, export, flaws, groups))
    messages.print("\n  next" if steps else "", markup=False)
    for purpose, words in steps:
        messages.print(f"    {purpose}:\n      {command_line(*words)}", markup=False)
