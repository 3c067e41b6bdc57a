"""`inkmill run` from end to end: submit or take up again, start what is missing, follow, export, sum up."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

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
from contract.stack_state import WantedWorker
from contract.surroundings import Surroundings
from db.jobs import JobRow, fail_job, find_job, get_job, own_job, retry_job
from db.session import Database
from db.status import JobSnapshot, snapshot
from db.waiting import served, waiting_for
from db.workers import list_workers
from inkmill.display import Progress, messages, print_json, status_json
from inkmill.stack import Stack
from inkmill.summary import print_summary, say_submitted
from producer.export import STDOUT, export_job, read_form, read_only
from producer.new_file import check_target
from producer.readers import open_input
from producer.submit import Order, announce, fingerprint, submit

ROUND_SECONDS = 0.5


class Run:
    """One `inkmill run`."""

    def __init__(self, where: Settings, database: Database, order: Order) -> None:
        self._where, self._database = where, database
        # With a Redis that was given, no stack of this home works on the job, or may fail it.
        self._order = replace(order, owner=where.installation) if where.embedded else order
        self._stack = Stack(where)
        self._noted = self._stack.read().note  # what the stack had to note before, or was shown of it

    def run(self, file: str, out: Path | None, *, form: str | None, only: str, json: bool) -> int:
        """Returns the exit status."""
        chosen = read_only(only, self._order.safety)
        out = out or Path("stdin.out.jsonl" if file == "-" else file + ".out.jsonl")
        # All this now, not after a night's work.
        if out != STDOUT:
            check_target(out)
            if file != "-" and out.exists() and Path(file).exists() and out.samefile(file):
                raise UsageError(f"-o {out}: is the prompt file itself; name another file")
        read_form(form, None if out == STDOUT else out)
        job = self._job(file)
        if job.status not in (JobStatus.COMPLETED,):
            self._start(job)
        try:
            done = self._follow(job)
        except KeyboardInterrupt:
            messages.print(
                f"\ndetached: job {job.id} goes on by itself. Follow it with 'inkmill watch {job.id}', "
                f"stop it with 'inkmill cancel {job.id}'.",
                markup=False,
            )
            return ExitCode.INTERRUPTED
        return self._finish(done, out, form, chosen, json)

    def _job(self, file: str) -> JobRow:
        """The job that this file and these settings are: a new one, or the one that was submitted before."""
        with open_input(file) as prompts:
            known = None if self._order.again else find_job(self._database, fingerprint(self._order, prompts))
            if known is not None:
                return self._taken_up(known)
            for note in prompts.notes:
                messages.print(f"note: {note}", markup=False)
            try:
                done = submit(self._database, prompts, self._order)
            except DuplicateJob as same:  # another run of it was faster
                return self._taken_up(get_job(self._database, same.job_id))
        say_submitted(prompts, done)
        return get_job(self._database, done.job_id)

    def _taken_up(self, job: JobRow) -> JobRow:
        messages.print(f"job {job.id} is this file with these settings; it is {job.status}", markup=False)
        if job.status in (JobStatus.FAILED, JobStatus.CANCELLED):
            if self._order.owner is not None:
                own_job(self._database, job.id, self._order.owner)
            retried = retry_job(self._database, job.id)
            messages.print(f"job {job.id}: {retried.prompts:,} prompts are tried again", markup=False)
        return get_job(self._database, job.id)

    def _start(self, job: JobRow) -> None:
        if self._where.embedded:
            self._stack.ensure(WantedWorker.of(job))
        # The queue may be newer than the job.
        error = announce(self._database, job.id, job.model)
        if error and not self._where.embedded:  # an embedded one is told by its worker's sweeper within seconds
            raise QueueUnreachable(
                f"{error}; job {job.id} is stored and starts by itself once Redis is back; the same command follows it"
            )

    def _follow(self, job: JobRow) -> JobSnapshot:
        with Progress() as progress:
            while True:
                try:
                    now = snapshot(self._database, job.id)
                    if now.finished:
                        return now
                    if self._where.embedded:
                        self._check_stack(job)
                    progress.show(now, waiting_for(self._database, now, Surroundings(self._where)))
                except DatabaseUnreachable as error:
                    progress.say(f"job {job.id}: {error}; waiting for it")
                time.sleep(ROUND_SECONDS)

    def _check_stack(self, job: JobRow) -> None:
        state, wanted = self._stack.read(), WantedWorker.of(job)
        if state.note not in ("", self._noted):
            messages.print(f"note: {state.note}", markup=False)
            self._noted = state.note
        if state.stopped:
            raise InkmillError(
                f"the stack was stopped; job {job.id} keeps what it has, and the same command takes it up again"
            )
        if state.runs and state.refused(wanted):
            self._give_up(job)
        elif not state.runs or not state.serves(wanted):
            self._start(job)  # it was killed, or shares a stack whose worker for somebody else could not be loaded

    def _give_up(self, job: JobRow) -> None:
        """This stack cannot load what the job needs: its own job fails over that, unless other workers do the work.

        Raises:
            ModelUnavailable: the job goes on without this stack, or is another's to fail.
        """
        why, now = self._why(job), snapshot(self._database, job.id)
        if now.finished:
            return
        others = served(self._database, now)
        if not others and fail_job(self._database, job.id, why, owner=self._order.owner):
            return
        whose = "other workers serve it" if others else "it was submitted elsewhere"
        raise ModelUnavailable(
            f"{why}; job {job.id} is left as it is, for {whose}; follow it with 'inkmill watch {job.id}'"
        )

    def _why(self, job: JobRow) -> str:
        failed = (w for w in list_workers(self._database) if w.state == "failed" and w.model == job.model and w.error)
        found = next(failed, None)
        return found.error or "" if found else f"its worker could not start; see {self._where.home / 'logs'}"

    def _finish(self, job: JobSnapshot, out: Path, form: str | None, only: tuple[str, ...], json: bool) -> int:
        if job.status == JobStatus.FAILED:
            if json:
                print_json(status_json(job, None))
            messages.print(f"inkmill: job {job.id} failed: {job.error}", markup=False)
            messages.print("Nothing was lost: once that is mended, the same command takes it up.", markup=False)
            return ExitCode.UNREACHABLE
        report = export_job(self._database, job.id, out, form=form, only=only, allow_empty=True)
        if json:
            print_json(status_json(job, None))
        print_summary(self._database, job, report)
        if job.status == JobStatus.CANCELLED:
            return ExitCode.FAILED
        return ExitCode.DEAD_PROMPTS if job.dead else ExitCode.DONE
