"""`report`: the result of a job, as one page to read in the morning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inkmill.commands import options as o
from inkmill.commands.following import JobId


def register(app: typer.Typer) -> None:
    app.command()(report)


def report(
    job: JobId,
    out: o.Out = None,
    show_flagged: Annotated[
        bool, typer.Option("--show-flagged", help="Include excerpts of flagged texts, which are left out otherwise.")
    ] = False,
    force: o.Force = False,
    json: o.Json = False,
) -> None:
    """Write a report of JOB to FILE (default: report-JOB.html), as one self-contained page."""
    from contract.errors import UsageError
    from db.jobs.jobs import get_job
    from db.jobs.status import snapshot
    from inkmill.show.display import print_json
    from inkmill.show.summary import note_reflag
    from inkmill.show.terminal import messages
    from inkmill.startup import settings_and_database
    from inkmill.version import own_version
    from producer.export import IF_TAKEN
    from producer.write.new_file import check_target, standard_output
    from producer.write.target import MayReplace, Target
    from review.report import report_page

    if json and out == "-":
        raise UsageError("--json and -o -: both need standard output; write the report to a file")
    path = None if out == "-" else Path(out or f"report-{job}.html")
    if path is not None:
        check_target(path)
        if path.suffix.lower() not in ("", ".html", ".htm"):
            raise UsageError(f"-o {path}: a report is a page in HTML; end its name in .html")
    _, database = settings_and_database()
    get_job(database, job)
    target = path and Target(database, path, job, IF_TAKEN, MayReplace.ANY_FILE if force else MayReplace.SAME_JOB)
    note_reflag(database, job)
    page = report_page(database, job, show_flagged=show_flagged, version=own_version()).encode()
    with target.file() if target else standard_output() as file:
        file.write(page)
    now = snapshot(database, job)
    if not now.finished:
        messages.print(f"note: job {job} is {now.status}, so the report is incomplete", markup=False)
    if json:
        print_json({"path": str(path), "job": job, "status": now.status.value, "complete": now.finished})
    elif path is not None:
        messages.print(f"report of job {job} written to {path}", markup=False)
