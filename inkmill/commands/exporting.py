"""`export`: the data set as a file."""

from __future__ import annotations

from pathlib import Path

import typer

from inkmill.commands import options as o
from inkmill.commands.following import JobId


def register(app: typer.Typer) -> None:
    app.command()(export)


def export(
    job: JobId,
    out: o.Out = None,
    format: o.ExportFormat = None,
    only: o.Only = "all",
    without: o.Without = "",
    flat: o.Flat = False,
    for_spreadsheets: o.ForSpreadsheets = False,
    allow_empty: o.AllowEmpty = False,
    force: o.Force = False,
    json: o.Json = False,
) -> None:
    """Write JOB's outputs to FILE; dead and cancelled prompts go to FILE.errors.jsonl."""
    from common.wording import counted
    from contract.errors import UsageError
    from db.jobs.jobs import get_job
    from inkmill.show.display import print_json
    from inkmill.show.summary import note_reflag, note_unfinished
    from inkmill.show.terminal import messages
    from inkmill.startup import settings_and_database
    from producer.export import export_job, parse_only, parse_without

    if out is None:
        raise UsageError("export: name a file with -o FILE (or -o - for standard output)")
    if json and out == "-":
        raise UsageError("--json and -o -: both need standard output; write the export to a file")
    _, database = settings_and_database()
    selections = parse_only(only, get_job(database, job).safety)
    flaws = parse_without(without)
    path = None if out == "-" else Path(out)
    note_reflag(database, job)
    report = export_job(
        database, job, path, format=format, only=selections, without=flaws, flat=flat,
        for_spreadsheets=for_spreadsheets, allow_empty=allow_empty, force=force,
    )  # fmt: skip
    note_unfinished(report.job)
    if json:
        print_json(
            {"path": str(report.path), "rows": report.rows, "errors": report.errors, "format": report.format,
             "errors_path": str(report.errors_path) if report.errors_path else None, "status": report.job.status.value,
             "complete": report.job.finished}
        )  # fmt: skip
        return
    messages.print(f"{counted(report.rows, 'output')} written to {report.path}", markup=False)
    if report.errors_path:
        lost = counted(report.errors, "dead or cancelled prompt is", "dead or cancelled prompts are")
        messages.print(f"{lost} in {report.errors_path}", markup=False)
