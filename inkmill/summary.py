"""What `inkmill run` says at the end: how much, how fast, what was flagged, a few texts, and what to type next."""

from __future__ import annotations

from itertools import islice

from producer.export import ExportReport
from rich.markup import escape

from contract.settings import Settings
from db.jobs import get_job
from db.reading import outputs_in_order
from db.session import Database
from db.status import JobSnapshot
from inkmill.display import duration, messages

SHOWN_TEXTS, SHOWN_CHARACTERS = 3, 300


def print_summary(database: Database, where: Settings, job: JobSnapshot, report: ExportReport) -> None:
    """The summary, on standard error: standard output is for data."""
    say = messages.print
    share = f" ({job.flagged / job.settled:.0%})" if job.settled else ""
    say(f"\n[bold]job {job.id} {job.status}[/bold] in {duration(job.seconds)}")
    say(f"  texts     {job.generated:,} of {job.outputs:,}, from {job.prompts:,} prompts")
    if job.safety != "none":
        say(f"  flagged   {job.flagged:,}{share} by {escape(job.safety)}")
    say(f"  tokens    {job.generated_tokens:,}, {job.tokens_per_second:,.0f} a second")
    for reason, count in job.failures.items():
        say(f"  dead      {count:,}: {reason}", markup=False)
    if job.generated:
        _print_texts(database, job)
    say(f"  database  {database.address}", markup=False)
    say(f"  export    {report.path} ({report.rows:,} rows)", markup=False)
    if report.errors_path:
        say(f"  errors    {report.errors_path} ({report.errors:,} dead or cancelled prompts)", markup=False)
    _print_next(job)


def _print_texts(database: Database, job: JobSnapshot) -> None:
    settings = get_job(database, job.id).settings
    say = messages.print
    say("\n  a few of them")
    for output in islice(outputs_in_order(database, job.id, job.safety, settings, ("all",)), SHOWN_TEXTS):
        text = " ".join(output.text.split())
        short = text[:SHOWN_CHARACTERS] + ("…" if len(text) > SHOWN_CHARACTERS else "")
        flag = f" [red]flagged: {escape(', '.join(output.flag_reasons))}[/red]" if output.flagged else ""
        say(f"  [dim]·[/dim] [bold]{escape(output.prompt or '(no prompt)')}[/bold] {escape(short)}{flag}")
    say("")


def _print_next(job: JobSnapshot) -> None:
    messages.print("\n  next", markup=False)
    if job.safety != "none":
        messages.print(f"    inkmill export {job.id} -o clean.jsonl --only clean", markup=False)
    messages.print(f"    inkmill status {job.id} --json", markup=False)
    if job.dead or job.cancelled:
        messages.print(f"    inkmill retry {job.id}", markup=False)
    messages.print("    inkmill run YOUR_PROMPTS.jsonl --model gpt2 --safety original", markup=False)
