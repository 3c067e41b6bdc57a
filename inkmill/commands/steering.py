"""`cancel`, `pause`, `resume`, `retry`, `reflag` and `rescore`: changing an existing job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contract.errors import ExitCode, UsageError
from inkmill.commands import options as o
from inkmill.commands.following import JobId
from inkmill.tuning.reference import WorkId, read_reference

if TYPE_CHECKING:
    from contract.settings import Settings
    from db.session.engine import Database


def register(app: typer.Typer) -> None:
    app.command()(cancel)
    app.command()(pause)
    app.command()(resume)
    app.command()(o.gather_options("sampling", o.sampling_flags(o.RETRY_PANEL))(retry))
    app.command()(reflag)
    app.command()(rescore)


def cancel(job: WorkId, json: o.Json = False) -> None:
    """Cancel JOB: at once if no worker is on it, otherwise within seconds. Stored texts stay; without a worker to score
    them they end up unscored, and 'retry' gets them scored. A tuning's checkpoints stay too."""
    from inkmill.startup import settings_and_database

    asked = read_reference("cancel", job)
    _, database = settings_and_database()
    if not asked.is_tuning:
        _cancel_job(database, asked.number, json=json)
        return
    from inkmill.tuning.steering import cancel as cancel_tuning

    cancel_tuning(database, asked.number, json=json)


def _cancel_job(database: Database, job: int, *, json: bool) -> None:
    from db.jobs.jobs import cancel_job
    from db.work.unscored import leave_unscored

    cancel_job(database, job)
    leave_unscored(database, job)
    _print_status(database, job, json)


def pause(job: JobId, json: o.Json = False) -> None:
    """Pause JOB: nothing more of it is begun until 'resume'. What workers have in hand is given back within seconds, or
    finished; stored texts stay."""
    from db.jobs.jobs import pause_job
    from inkmill.startup import settings_and_database

    _, database = settings_and_database()
    pause_job(database, job)
    _print_status(database, job, json)


def resume(job: JobId, json: o.Json = False) -> None:
    """Resume JOB, which was paused."""
    from db.jobs.jobs import resume_job
    from inkmill.startup import settings_and_database

    config, database = settings_and_database()
    resume_job(database, job)
    _queue_hints(config, database, job)
    _print_status(database, job, json)


def retry(
    job: WorkId,
    sampling: Any,
    code: Annotated[
        str | None,
        typer.Option("--code", metavar="CODE", help="Only prompts that died of CODE, as 'inkmill status' names it."),
    ] = None,
    any_worker: Annotated[
        bool,
        typer.Option(
            "--any-worker",
            help="Let workers with another model revision, dtype or device take it, and another revision of its "
            "classifier score the rest.",
        ),
    ] = False,
    json: o.Json = False,
) -> None:
    """Retry JOB's dead and cancelled prompts and unscored texts, or a tuning from its last checkpoint.

    Sampling settings are for dead prompts of which no text is stored, and beat a row's own. --n and seeds stay.
    """
    from inkmill.startup import settings_and_database

    asked = read_reference("retry", job)
    config, database = settings_and_database()
    if not asked.is_tuning:
        _retry_job(config, database, asked.number, sampling, code, any_worker=any_worker, json=json)
        return
    from inkmill.tuning.steering import retry as retry_tuning

    if sampling or code is not None or any_worker:
        raise UsageError(f"retry {job}: a tuning is retried as it was ordered; leave out the other options")
    retry_tuning(config, database, asked.number, json=json)


def _retry_job(
    config: Settings, database: Database, job: int, sampling: Any, code: str | None, *, any_worker: bool, json: bool
) -> None:
    from common.wording import counted
    from contract.failures import parse_code
    from db.jobs.jobs import get_job
    from db.jobs.retry import retry_job
    from inkmill.show.terminal import messages

    scored_by = get_job(database, job).served_classifier_revision
    retried = retry_job(
        database, job, any_worker=any_worker, code=None if code is None else parse_code(code), settings=sampling
    )
    if any_worker and scored_by:
        messages.print(
            f"note: any revision of its classifier may score the rest of job {job}, begun with {scored_by}; "
            "each line of an export says which revision scored its text",
            markup=False,
        )
    prompts, texts = counted(retried.prompts, "prompt"), counted(retried.texts, "text")
    messages.print(f"job {job}: {prompts} and {texts} queued again")
    if retried.kept:
        messages.print(
            f"note: {counted(retried.kept, 'dead prompt')} with texts already keep the settings of those; submit such "
            "prompts anew for others"
        )
    _queue_hints(config, database, job)
    _print_status(database, job, json)


def reflag(
    job: JobId,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            "--threshold",
            metavar="LABEL=X",
            help="Flag scores of at least X; repeatable. X alone sets every label; other labels keep JOB's thresholds.",
            rich_help_panel=o.JOB_PANEL,
        ),
    ] = None,
    reset_thresholds: Annotated[
        bool,
        typer.Option(
            "--reset-thresholds",
            help="Reset all other labels to the default, 0.7.",
            rich_help_panel=o.JOB_PANEL,
        ),
    ] = False,
    blocklist: o.BlocklistFile = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, even if flags are taken off.")] = False,
    json: o.Json = False,
) -> None:
    """Apply new thresholds or a new blocklist to JOB's stored scores, without generating or scoring again.

    Says first what that would change, and asks. Without a terminal, --yes is needed if it takes flags off.
    """
    from common.wording import counted
    from contract.blocklist import read_blocklist
    from contract.policy import read_thresholds
    from db.jobs.reflag import check_scored, reflag_job
    from db.jobs.reflag_preview import preview_reflag
    from inkmill.show.display import command_line
    from inkmill.show.reflag_question import confirm_reflag
    from inkmill.show.terminal import messages
    from inkmill.startup import settings_and_database

    if threshold is None and blocklist is None and not reset_thresholds:
        raise UsageError("reflag: nothing to apply; use --threshold LABEL=X, --reset-thresholds or --blocklist FILE")
    _, database = settings_and_database()
    check_scored(database, job)
    words = read_blocklist(Path(blocklist)) if blocklist else None
    thresholds = read_thresholds(threshold) if threshold is not None else None
    preview = preview_reflag(database, job, thresholds=thresholds, blocklist=words, reset=reset_thresholds)
    repeated = [word for one in threshold or () for word in ("--threshold", one)]
    repeated += ["--reset-thresholds"] if reset_thresholds else []
    repeated += ["--blocklist", str(blocklist)] if blocklist else []
    command = command_line("reflag", str(job), *repeated, "--yes")
    if not confirm_reflag(job, preview, words, yes=yes, command=command):
        messages.print("nothing was changed")
        raise typer.Exit(ExitCode.FAILED)
    changed = reflag_job(database, job, thresholds=thresholds, blocklist=words, reset=reset_thresholds)
    flagged = counted(changed.flagged, "output is", "outputs are")
    messages.print(f"job {job}: {flagged} flagged now, {changed.changed:,} changed", markup=False)
    _print_status(database, job, json)


def rescore(
    job: JobId,
    score_by: Annotated[
        str | None,
        typer.Option(
            "--score-by",
            metavar="WHAT",
            help="window, or sentence: each sentence is scored by itself; for example --score-by sentence. "
            "[default: as before]",
            rich_help_panel=o.JOB_PANEL,
        ),
    ] = None,
    json: o.Json = False,
) -> None:
    """Score JOB's stored texts again with the current classifier; flags follow, decisions stay."""
    from common.wording import counted
    from db.jobs.jobs import get_job
    from db.jobs.rescore import rescore_job
    from db.work.workers import list_workers
    from inkmill.show.terminal import messages
    from inkmill.startup import settings_and_database

    _, database = settings_and_database()
    scoring = None if score_by is None else o.checked_score_by(score_by)
    texts = rescore_job(database, job, score_by=scoring)
    messages.print(
        f"job {job}: {counted(texts, 'text')} will be scored again by the next worker with its classifier; until then "
        "each keeps its scores and its flag",
        markup=False,
    )
    safety = get_job(database, job).safety
    loaded = {(worker.classifier_revisions or {}).get(safety) for worker in list_workers(database) if worker.alive}
    if revisions := ", ".join(sorted(revision for revision in loaded if revision)):
        messages.print(
            f"note: running workers have loaded revision {revisions} of {safety}; if its files have changed since, "
            "stop them (inkmill stop) and start new ones",
            markup=False,
        )
    _print_status(database, job, json)


def _queue_hints(config: Settings, database: Database, job: int) -> None:
    from db.jobs.jobs import get_job
    from inkmill.show.terminal import messages
    from producer.submit import queue_hints

    error = queue_hints(database, job, get_job(database, job).model)
    if error and not config.embedded:
        messages.print(f"warning: {error}; the work starts automatically once Redis is back", markup=False)


def _print_status(database: Database, job: int, json: bool) -> None:
    from contract.waiting.surroundings import Surroundings
    from db.insights.failures import failure_groups
    from db.insights.flaws import count_flaws
    from db.insights.pace import read_pace
    from db.jobs.status import snapshot
    from db.jobs.waiting import waiting_for
    from inkmill.show.display import print_json, print_status, status_json

    now = snapshot(database, job)
    waiting = waiting_for(database, now, Surroundings())
    pace = read_pace(database, now, waiting=bool(waiting))
    flaws, groups = count_flaws(database, job), failure_groups(database, job)
    if json:
        print_json(status_json(now, pace, waiting, flaws, groups))
    else:
        print_status(now, pace, waiting, flaws, groups)
