"""A job's figures: as the JSON of the contract, as lines for people, as a progress line while it runs."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import orjson
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from common.times import duration, iso
from common.wording import counted, on_one_line, visible
from contract.policy import ScoreBy
from contract.text_flaws import TextFlaw
from db.insights.failures import FailureGroup
from db.insights.flaws import FlawCounts
from db.insights.pace import Pace
from db.jobs.status import JobSnapshot
from db.record import Act
from inkmill.show.terminal import Terminal, messages, output
from producer.read.row_parser import printable
from producer.write.new_file import standard_output

OPTIONAL = ("dead", "cancelled", "left", "differs in")
RIGHT_ALIGNED = ("job", "done", "dead", "cancelled", "flagged", "tokens/s", "time")


def status_json(
    job: JobSnapshot,
    pace: Pace,
    waiting: str | None,
    flaws: FlawCounts | None = None,
    groups: Sequence[FailureGroup] | None = None,
) -> dict[str, Any]:
    """A job's status as `--json` prints it: docs/commands.md promises its fields.

    Args:
        flaws: None = they were not counted.
        groups: its dead prompts by code; None = they were not looked for.
    """
    left = pace.time_left
    return {
        "schema_version": 1,
        "id": job.id,
        "name": job.name,
        "status": job.status.value,
        "model": job.model,
        "safety": job.safety,
        "score_by": job.score_by,
        "seed": job.seed,
        "prompts": {"total": job.prompts, "done": job.done, "dead": job.dead, "cancelled": job.cancelled},
        "outputs": {
            "total": job.outputs,
            "generated": job.generated,
            "scored": job.scored,
            "unscored": job.unscored,
            "flagged": job.flagged,
            "pending_review": job.pending_review,
            **{flaw.value: flaws.counts[flaw] if flaws else None for flaw in TextFlaw},
            "flaws_exact": flaws.exact if flaws else None,
        },
        "tokens": {"prompt": job.prompt_tokens, "generated": job.generated_tokens},
        "tokens_per_second": round(pace.tokens_per_second, 1),
        "created_at": iso(job.created_at),
        "started_at": iso(job.started_at),
        "finished_at": iso(job.finished_at),
        "eta_seconds": None if left is None else round(left.likely, 1),
        "eta_range": None if left is None else [round(left.low, 1), round(left.high, 1)],
        "waiting_for": waiting,
        "failures": job.failures,
        "failures_by_code": None if groups is None else {group.code.value: _group_json(group) for group in groups},
        "error": job.error,
    }


def _group_json(group: FailureGroup) -> dict[str, Any]:
    return {
        "prompts": group.prompts,
        "reason": group.reason,
        "custom_ids": [prompt.custom_id for prompt in group.examples if prompt.custom_id is not None],
        "positions": [prompt.position for prompt in group.examples],
        "advice": group.remedy.advice,
        "retry_with": None if group.remedy.retry is None else list(group.remedy.retry),
    }


def record_json(record: Sequence[Act]) -> list[dict[str, Any]]:
    """What was done to a job, as `status --json` prints it."""
    return [
        {"at": iso(act.at), "who": act.who, "what": act.what, "from": act.before, "to": act.after} for act in record
    ]


def print_json(value: object) -> None:
    """One JSON document on standard output: always UTF-8, and with nothing in it that a terminal may obey.

    Raises:
        InkmillError: standard output cannot be written.
    """
    document = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    with standard_output() as file:
        file.write(visible(document).encode())


def print_status(
    job: JobSnapshot,
    pace: Pace,
    waiting: str | None,
    flaws: FlawCounts,
    groups: Sequence[FailureGroup],
    *,
    reflagging: bool = False,
    record: Sequence[Act] = (),
) -> None:
    """A job's status for people, on standard output.

    Args:
        groups: its dead prompts by code.
        reflagging: a reflag is running or was interrupted: flags follow two policies.
        record: what was done to it, oldest first.
    """
    console = output
    name, model, safety = (escape(on_one_line(said)) for said in (job.name, job.model, job.safety))
    safety += " by sentence" if job.score_by == ScoreBy.SENTENCE else ""
    console.print(f"job {job.id}  {name}  [bold]{job.status}[/bold]  model {model}, safety {safety}")
    lost = "".join(f", {n:,} {what}" for n, what in ((job.dead, "dead"), (job.cancelled, "cancelled")) if n)
    console.print(f"  prompts  {job.done:,} of {job.prompts:,} done{lost}")
    console.print(
        f"  outputs  {job.generated:,} of {job.outputs:,} generated, {job.scored:,} scored, {job.flagged:,} flagged"
    )
    if flaws.found:
        without = f"inkmill export {job.id} -o FILE --without {','.join(flaws.found)}"
        console.print(f"  texts    {flaws}; to leave them out: {without}")
    if reflagging:
        console.print("  reflag   running or interrupted: an export or a report finishes it first")
    console.print(f"  tokens   {job.generated_tokens:,} {_speed(job, pace)}")
    if job.rescoring:
        console.print(f"  rescoring: {counted(job.to_score + job.in_hand, 'batch', 'batches')} left")
    if pace.time_left is not None:
        console.print(f"  left     {pace.time_left}")
    if waiting:
        console.print(f"  waiting for {waiting}", markup=False)
    if job.error:
        console.print(f"  failed: {on_one_line(job.error)}", markup=False)
    for line in failure_lines(job, groups):
        console.print(f"  {line}", markup=False)
    if record:
        last = record[-1]
        at = datetime.fromtimestamp(last.at).strftime("%Y-%m-%d %H:%M")
        console.print(
            f"  record   {counted(len(record), 'act')}, the last: {last.what} by {last.who}, {at}", markup=False
        )


def failure_lines(job: JobSnapshot, groups: Sequence[FailureGroup]) -> Iterator[str]:
    """Why prompts are dead, which ones, what may help, and where all of them are."""
    for group in groups:
        yield f"{group.prompts:,} dead: {group.code}: {on_one_line(group.reason)}"
        names = [printable(prompt.name) for prompt in group.examples]
        more = f" and {group.prompts - len(names):,} more" if group.prompts > len(names) else ""
        yield f"  {', '.join(names)}{more}; {group.remedy.advice}"
    if groups:
        yield f"  to get them all: {command_line('export', str(job.id), '-o', 'FILE')} writes FILE.errors.jsonl"


def retry_commands(job: JobSnapshot, groups: Sequence[FailureGroup]) -> list[tuple[str, ...]]:
    """The retries that can help a job, each as the words of its command."""
    number = str(job.id)
    plain = job.cancelled or job.unscored or any(group.remedy.retry == () for group in groups)
    return [("retry", number)] * bool(plain) + [
        ("retry", number, "--code", group.code.value, *group.remedy.retry) for group in groups if group.remedy.retry
    ]


def _speed(job: JobSnapshot, pace: Pace) -> str:
    average = f"{pace.average:,.0f} a second"
    return f"at {average}" if job.finished else f"at {pace.tokens_per_second:,.0f} a second now, {average} on average"


def jobs_table(jobs: list[tuple[JobSnapshot, Pace]], differences: Mapping[int, str]) -> Table:
    """The jobs as a table, without those columns of `OPTIONAL` that would be empty: a terminal has 80 characters.

    Args:
        differences: by job, what tells it from others of the same name.
    """
    rows = [_job_cells(job, pace) | {"differs in": differences.get(job.id, "")} for job, pace in jobs]
    names = [name for name in rows[0] if name not in OPTIONAL or any(row[name] for row in rows)]
    table = table_of(*names, shortened=("name", "model", "differs in"), right=RIGHT_ALIGNED)
    for row in rows:
        table.add_row(*(cell(row[name]) for name in names))
    return table


def _job_cells(job: JobSnapshot, pace: Pace) -> dict[str, str]:
    return {
        "job": str(job.id),
        "name": job.name,
        "status": job.status.value,
        "done": f"{job.done:,}/{job.prompts:,}",
        "dead": f"{job.dead:,}" if job.dead else "",
        "cancelled": f"{job.cancelled:,}" if job.cancelled else "",
        "flagged": f"{job.flagged:,}",
        "tokens/s": f"{pace.tokens_per_second:,.0f}",
        "time": duration(job.seconds) if job.started_at else "",
        "left": str(pace.time_left or ""),
        "model": job.model,
        "created": datetime.fromtimestamp(job.created_at).strftime("%Y-%m-%d %H:%M"),
    }


def table_of(*names: str, shortened: Sequence[str], right: Sequence[str]) -> Table:
    """An empty table.

    Args:
        shortened: columns that are cut before anything else wraps.
        right: columns whose cells end alike.
    """
    table = Table(box=None, pad_edge=False)
    for name in names:
        width = 6 if name in shortened else None
        justify: Literal["right", "left"] = "right" if name in right else "left"
        whole = name not in shortened
        table.add_column(name, justify=justify, overflow="ellipsis", no_wrap=whole, min_width=width)
    return table


def cell(text: str) -> Text:
    """A cell of a table: one line, whose end is left out where its column is shortened."""
    return Text(on_one_line(text), no_wrap=True, overflow="ellipsis")


def print_table(table: Table) -> None:
    """A table on standard output."""
    # A pipe has no width: nothing is cut there.
    Terminal(width=None if output.is_terminal else 400).print(table, soft_wrap=False)


def command_line(*words: str) -> str:
    """A command as it has to be typed here: with this program's path and home where those are not the defaults."""
    program = "inkmill" if shutil.which("inkmill") else sys.argv[0]
    home = os.environ.get("INKMILL_HOME")
    prefix = f"INKMILL_HOME={shlex.quote(home)} " if home else ""
    return prefix + shlex.join([program, *words])


class ProgressLine:
    """One line that follows a job: rewritten on a terminal, a new line now and then elsewhere."""

    PLAIN_SECONDS = 10.0

    def __init__(self) -> None:
        self._live = messages.is_terminal
        self._status = messages.status("starting") if self._live else None
        self._last_line, self._last_at = "", -self.PLAIN_SECONDS

    def __enter__(self) -> ProgressLine:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def show(self, job: JobSnapshot, pace: Pace, waiting: str | None) -> None:
        self.say(self._line(job, pace, waiting), at_once=bool(waiting))

    def say(self, line: str, *, at_once: bool = True) -> None:
        """Shows a line; off a terminal only where it is new and, unless `at_once`, the last one is some seconds old."""
        if self._status is not None:
            self._status.update(escape(on_one_line(line)))
        elif line != self._last_line and (at_once or time.monotonic() - self._last_at >= self.PLAIN_SECONDS):
            messages.print(line, markup=False)
            self._last_line, self._last_at = line, time.monotonic()

    def _line(self, job: JobSnapshot, pace: Pace, waiting: str | None) -> str:
        if waiting:
            return f"job {job.id} is waiting for {waiting}"
        parts = [
            f"job {job.id}: {job.generated:,}/{job.outputs:,} texts",
            f"{job.settled:,} scored" if job.safety != "none" else "",
            f"{job.flagged:,} flagged",
            f"{job.dead:,} dead" if job.dead else "",
            f"{pace.tokens_per_second:,.0f} tokens/s",
            f"{pace.time_left} left" if pace.time_left else "",
        ]
        return " · ".join(part for part in parts if part)
