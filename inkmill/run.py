"""`inkmill run` from end to end: submit or resume, start what is missing, follow, export, summarise."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from common.wording import counted
from contract.errors import (
    DatabaseUnreachable,
    DuplicateJob,
    ExitCode,
    InkmillError,
    ModelUnavailable,
    QueueUnreachable,
    UsageError,
)
from contract.settings import Settings
from contract.spec import JobStatus
from contract.waiting.stack_state import WantedWorker
from contract.waiting.surroundings import Surroundings
from db.insights.failures import failure_groups
from db.insights.flaws import count_flaws
from db.insights.pace import FollowedPace, read_pace
from db.jobs.jobs import JobRow, assign_owner, fail_job, find_job, get_job, resume_job
from db.jobs.retry import retry_job
from db.jobs.status import JobSnapshot, snapshot
from db.jobs.waiting import ready_workers_suffice, waiting_for
from db.session.engine import Database
from db.work.workers import list_workers
from inkmill.local.stack import Stack
from inkmill.resuming import check_policy, note_dropped_options
from inkmill.show.display import ProgressLine, print_json, status_json
from inkmill.show.summary import note_reflag, print_submitted, print_summary
from inkmill.show.terminal import messages
from producer.export import STDOUT, ExportReport, errors_path, export_job, export_targets, parse_only, parse_without
from producer.read.prompt_file import PromptFile, open_prompt_file
from producer.submit import SubmitOptions, fingerprint, queue_hints, submit
from producer.write.form import parse_form
from producer.write.new_file import check_target
from producer.write.target import NEW_JOB, canonical_path

T = TypeVar("T")
ROUND_SECONDS = 0.5
UNREACHABLE_SECONDS = 120.0
"""How long the export at the end of a run is retried while the database is unreachable."""


class RunCommand:
    """One `inkmill run`."""

    def __init__(self, config: Settings, database: Database, order: SubmitOptions) -> None:
        self._config, self._database = config, database
        # With a configured Redis, no stack of this home works on the job, or may fail it.
        self._order = replace(order, owner=config.installation) if config.embedded else order
        self._stack = Stack(config)
        self._shown_note = self._stack.read().note  # the stack's note before this run, or as last shown

    def run(
        self,
        file: str,
        out: Path | None,
        *,
        format: str | None,
        only: str,
        without: str = "",
        flat: bool = False,
        for_spreadsheets: bool = False,
        json: bool,
        force: bool = False,
    ) -> int:
        """Returns the exit status."""
        selections, flaws = parse_only(only, self._order.safety), parse_without(without)
        out = out or Path("stdin.out.jsonl" if file == "-" else file + ".out.jsonl")
        # Check all this now, not after a night's work.
        if out != STDOUT:
            _check_names(file, out)
        parse_form(format, None if out == STDOUT else out, flat=flat, for_spreadsheets=for_spreadsheets)
        job = self._find_or_submit(file, out, force)
        if job.status not in (JobStatus.COMPLETED,):
            self._start_work(job)
        try:
            finished = self._follow(job)
        except KeyboardInterrupt:
            messages.print(
                f"\ndetached: job {job.id} continues in the background. Follow it with 'inkmill watch {job.id}', "
                f"stop it with 'inkmill cancel {job.id}'.",
                markup=False,
            )
            return ExitCode.INTERRUPTED
        export = partial(
            export_job, self._database, job.id, out, format=format, only=selections, without=flaws, flat=flat,
            for_spreadsheets=for_spreadsheets, allow_empty=True, force=force,
        )  # fmt: skip
        return self._finish(finished, export, json)

    def _find_or_submit(self, file: str, out: Path, force: bool) -> JobRow:
        """The job of this file with these settings: a new one, or the one submitted before."""
        with open_prompt_file(file, self._order.reading) as prompts:
            earlier = None if self._order.again else find_job(self._database, fingerprint(self._order, prompts))
            if out != STDOUT:
                export_targets(self._database, out, earlier.id if earlier else NEW_JOB, force=force)
                self._check_bad_lines(prompts, out)
            if earlier is not None:
                return self._resume(earlier)
            for note in prompts.notes:
                messages.print(f"note: {note}", markup=False)
            try:
                submitted = submit(self._database, prompts, self._order)
            except DuplicateJob as duplicate:  # another run was faster
                return self._resume(get_job(self._database, duplicate.job_id))
        print_submitted(prompts, submitted)
        return get_job(self._database, submitted.job_id)

    def _check_bad_lines(self, prompts: PromptFile, out: Path) -> None:
        if self._order.skip_bad and canonical_path(prompts.bad_path) in map(canonical_path, (out, errors_path(out))):
            raise UsageError(f"-o {out}: --skip-bad writes bad lines to {prompts.bad_path}; name another file")

    def _resume(self, job: JobRow) -> JobRow:
        check_policy(job, self._order)
        messages.print(
            f"job {job.id} was submitted from this file with these settings; it is {job.status}", markup=False
        )
        note_dropped_options(job, self._order)
        if job.status in (JobStatus.FAILED, JobStatus.CANCELLED):
            if self._order.owner is not None:
                assign_owner(self._database, job.id, self._order.owner)
            retried = retry_job(self._database, job.id)
            messages.print(f"job {job.id}: {counted(retried.prompts, 'prompt')} queued again", markup=False)
        elif job.status == JobStatus.PAUSED:
            resume_job(self._database, job.id)
            messages.print(f"job {job.id}: resumed", markup=False)
        return get_job(self._database, job.id)

    def _start_work(self, job: JobRow) -> None:
        if self._config.embedded:
            self._stack.ensure_running(WantedWorker.for_job(job))
        # The queue may be newer than the job.
        error = queue_hints(self._database, job.id, job.model)
        if error and not self._config.embedded:  # an embedded one's worker finds the job within seconds
            raise QueueUnreachable(
                f"{error}; job {job.id} is stored and starts automatically once Redis is back; "
                "run the same command to follow it"
            )

    def _follow(self, job: JobRow) -> JobSnapshot:
        pace = FollowedPace(self._database)
        with ProgressLine() as progress:
            while True:
                try:
                    now = snapshot(self._database, job.id)
                    if now.finished:
                        return now
                    if self._config.embedded:
                        self._check_stack(job, paused=now.status == JobStatus.PAUSED)
                    waiting = waiting_for(self._database, now, Surroundings(self._config))
                    progress.show(now, pace.look(now, waiting=bool(waiting)), waiting)
                except DatabaseUnreachable as error:
                    progress.say(f"job {job.id}: {error}; waiting for it")
                time.sleep(ROUND_SECONDS)

    def _check_stack(self, job: JobRow, *, paused: bool) -> None:
        state, wanted = self._stack.read(), WantedWorker.for_job(job)
        if state.note not in ("", self._shown_note):
            messages.print(f"note: {state.note}", markup=False)
            self._shown_note = state.note
        if state.stopped:
            raise InkmillError(
                f"the stack was stopped; job {job.id} keeps its texts; run the same command to resume it"
            )
        if paused:
            return  # whoever resumes it is told what it needs then
        if state.runs and state.failed_to_load(wanted):
            self._give_up(job)
        elif not state.runs or not state.serves(wanted):
            self._start_work(job)  # it was killed, or another command's worker in the stack failed to load

    def _give_up(self, job: JobRow) -> None:
        """This stack cannot load what the job needs: its own job fails, unless other workers can do the work.

        Raises:
            ModelUnavailable: the job goes on without this stack, or is not this home's to fail.
        """
        error, now = self._failure_reason(job), snapshot(self._database, job.id)
        if now.finished:
            return
        others = ready_workers_suffice(self._database, now)
        if not others and fail_job(self._database, job.id, error, owner=self._order.owner):
            return
        reason = "other workers can run it" if others else "it was not submitted from this home"
        raise ModelUnavailable(
            f"{error}; job {job.id} is left alone, because {reason}; follow it with 'inkmill watch {job.id}'"
        )

    def _failure_reason(self, job: JobRow) -> str:
        failed = (w for w in list_workers(self._database) if w.state == "failed" and w.model == job.model and w.error)
        worker = next(failed, None)
        return worker.error or "" if worker else f"its worker could not start; see {self._config.home / 'logs'}"

    def _finish(self, job: JobSnapshot, export: Callable[[], ExportReport], json: bool) -> int:
        if job.status == JobStatus.FAILED:
            if json:
                flaws = count_flaws(self._database, job.id)
                groups = failure_groups(self._database, job.id)
                print_json(status_json(job, read_pace(self._database, job), None, flaws, groups))
            messages.print(f"inkmill: job {job.id} failed: {job.error}", markup=False)
            messages.print("Nothing was lost: fix that, then run the same command to resume it.", markup=False)
            return ExitCode.UNREACHABLE
        report = _retry_while_unreachable(job.id, lambda: self._export_checked(job.id, export))
        pace = _retry_while_unreachable(job.id, lambda: read_pace(self._database, report.job))
        flaws = _retry_while_unreachable(job.id, lambda: count_flaws(self._database, job.id))
        groups = _retry_while_unreachable(job.id, lambda: failure_groups(self._database, job.id))
        if json:
            print_json(status_json(report.job, pace, None, flaws, groups))
        print_summary(self._database, report, pace, flaws, groups)
        if job.status == JobStatus.CANCELLED:
            return ExitCode.FAILED
        return ExitCode.DEAD_PROMPTS if job.dead else ExitCode.DONE

    def _export_checked(self, job_id: int, export: Callable[[], ExportReport]) -> ExportReport:
        check_policy(get_job(self._database, job_id), self._order)  # it may have been changed since
        note_reflag(self._database, job_id)
        return export()


def _retry_while_unreachable(job_id: int, read: Callable[[], T]) -> T:
    """What a run reads at its end, such as its export: retried while the database is unreachable, but not for ever."""
    since: float | None = None
    with ProgressLine() as progress:
        while True:
            try:
                return read()
            except DatabaseUnreachable as error:
                since = since or time.monotonic()
                if time.monotonic() - since >= UNREACHABLE_SECONDS:
                    raise DatabaseUnreachable(
                        f"{error}; nothing was lost: once it does, run the same command to export job {job_id}"
                    ) from error
                progress.say(f"job {job_id}: {error}; waiting for it before the export")
            time.sleep(ROUND_SECONDS)


def _check_names(file: str, out: Path) -> None:
    """Makes sure that no export replaces its own prompt file, even with `--force`."""
    prompts = Path("/dev/stdin" if file == "-" else file)
    for place in (out, errors_path(out)):
        check_target(place)
        if place.exists() and prompts.exists() and place.samefile(prompts):
            what = "is" if place == out else f"{place}, which gets the dead prompts, is"
            raise UsageError(f"-o {out}: {what} the prompt file itself; name another file")
