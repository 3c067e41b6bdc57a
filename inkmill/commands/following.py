"""`jobs`, `status`, `watch` and `workers`: the progress of jobs, and who works on them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from contract.errors import DatabaseUnreachable, ExitCode
from inkmill.commands import options as o
from inkmill.tuning.reference import WorkId, read_reference

if TYPE_CHECKING:
    from db.session.engine import Database

JobId = Annotated[
    int, typer.Argument(metavar="JOB", min=1, max=2**62, help="The job's number, as listed by 'inkmill jobs'.")
]


def register(app: typer.Typer) -> None:
    app.command()(jobs)
    app.command()(status)
    app.command()(watch)
    app.command()(workers)


def jobs(
    json: o.Json = False,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, max=2**31, help="List at most this many, the newest.")
    ] = 100,
) -> None:
    """List the jobs, newest first, and what tells those of one file apart; then tunings under way or of the last day.

    With --json jobs alone; 'inkmill tunings --json' lists tunings.
    """
    from contract.waiting.surroundings import Surroundings
    from db.insights.pace import read_pace
    from db.job_differences import as_words, differences
    from db.jobs.jobs import list_jobs
    from db.jobs.status import snapshots
    from db.jobs.waiting import waiting_for
    from inkmill.show.display import jobs_table, print_json, print_table, status_json
    from inkmill.show.terminal import messages
    from inkmill.startup import settings_and_database

    _, database = settings_and_database()
    listed = snapshots(database, limit=limit)
    surroundings = Surroundings()
    waiting = [waiting_for(database, job, surroundings) for job in listed]
    paces = [read_pace(database, job, waiting=bool(why)) for job, why in zip(listed, waiting, strict=True)]
    differ = differences(list_jobs(database, limit))
    if json:
        every = zip(listed, paces, waiting, strict=True)
        print_json([status_json(*job) | {"differs_in": differ.get(job[0].id, {})} for job in every])
    elif listed:
        said = {job: as_words(values) for job, values in differ.items()}
        print_table(jobs_table(list(zip(listed, paces, strict=True)), said))
    else:
        messages.print("no jobs yet; submit one: inkmill run FILE")
    if not json:
        _list_tunings(database, limit)


def _list_tunings(database: Database, limit: int) -> None:
    from inkmill.show.display import print_table
    from inkmill.show.terminal import output
    from inkmill.tuning.listing import current_tunings, tunings_table

    if current := current_tunings(database, limit):
        output.print()
        print_table(tunings_table(current))


def status(job: WorkId, json: o.Json = False) -> None:
    """Show the status of JOB, and what it is waiting for."""
    from inkmill.startup import settings_and_database

    asked = read_reference("status", job)
    _, database = settings_and_database()
    if not asked.is_tuning:
        _job_status(database, asked.number, json=json)
        return
    from inkmill.tuning.steering import show_status

    show_status(database, asked.number, json=json)


def _job_status(database: Database, job: int, *, json: bool) -> None:
    from contract.waiting.surroundings import Surroundings
    from db.insights.failures import failure_groups
    from db.insights.flaws import count_flaws
    from db.insights.pace import read_pace
    from db.jobs.reflag import unfinished_reflags
    from db.jobs.status import snapshot
    from db.jobs.waiting import waiting_for
    from db.record import acts_on
    from inkmill.show.display import print_json, print_status, record_json, status_json

    now = snapshot(database, job)
    waiting = waiting_for(database, now, Surroundings())
    pace = read_pace(database, now, waiting=bool(waiting))
    flaws, record = count_flaws(database, job), acts_on(database, job)
    groups = failure_groups(database, job)
    if json:
        print_json(status_json(now, pace, waiting, flaws, groups) | {"record": record_json(record)})
    else:
        print_status(now, pace, waiting, flaws, groups, reflagging=job in unfinished_reflags(database), record=record)


def watch(job: WorkId, json: o.Json = False) -> None:
    """Follow JOB until it finishes, or can never finish. Ctrl-C stops watching, not the job."""
    from inkmill.startup import settings_and_database

    asked = read_reference("watch", job)
    _, database = settings_and_database()
    if not asked.is_tuning:
        _watch_job(database, asked.number, json=json)
        return
    from inkmill.tuning.steering import watch as watch_tuning

    raise typer.Exit(watch_tuning(database, asked.number, json=json))


def _watch_job(database: Database, job: int, *, json: bool) -> None:
    from contract.waiting.surroundings import Surroundings
    from db.insights.failures import failure_groups
    from db.insights.flaws import count_flaws
    from db.insights.pace import FollowedPace, read_pace
    from db.jobs.ingest_lease import is_abandoned
    from db.jobs.status import snapshot
    from db.jobs.waiting import waiting_for
    from inkmill.show.display import ProgressLine, print_json, print_status, status_json

    snapshot(database, job)  # an unknown job fails at once
    followed = FollowedPace(database)
    with ProgressLine() as progress:
        while True:
            try:
                now = snapshot(database, job)
                waiting = waiting_for(database, now, Surroundings())
                if now.finished or is_abandoned(database, job):
                    break
                progress.show(now, followed.look(now, waiting=bool(waiting)), waiting)
            except DatabaseUnreachable as error:
                progress.say(f"job {job}: {error}; waiting for it")
            time.sleep(0.5)
    pace = read_pace(database, now, waiting=bool(waiting))
    flaws, groups = count_flaws(database, job), failure_groups(database, job)
    if json:
        print_json(status_json(now, pace, waiting, flaws, groups))
    else:
        print_status(now, pace, waiting, flaws, groups)
    raise typer.Exit(exit_status(now.status.value, now.dead))


def workers(
    json: o.Json = False,
    every: Annotated[
        bool, typer.Option("--all", help="Also those that stopped, or were last seen over a day ago.")
    ] = False,
) -> None:
    """List the workers, newest first."""
    from db.work.workers import list_workers
    from inkmill.show.display import print_json, print_table
    from inkmill.show.terminal import messages
    from inkmill.show.worker_list import is_listed, remarks, worker_json, workers_table
    from inkmill.startup import settings_and_database

    _, database = settings_and_database()
    listed = [worker for worker in list_workers(database) if every or is_listed(worker)]
    if json:
        print_json([worker_json(worker) for worker in listed])
    elif listed:
        print_table(workers_table(listed))
        for remark in remarks(listed):
            messages.print(remark, markup=False)
    else:
        messages.print("no workers; start one: inkmill worker")


def exit_status(status: str, dead: int) -> int:
    """The exit status for a finished job."""
    if status == "completed":
        return ExitCode.DEAD_PROMPTS if dead else ExitCode.DONE
    return ExitCode.FAILED
