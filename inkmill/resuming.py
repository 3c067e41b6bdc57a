"""Whether a job still matches the command that submitted it: a reflag or a retry may have changed it since.

Only compares and reports; `run` decides what to do with the job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contract.errors import UsageError
from contract.policy import DEFAULT_THRESHOLD, LABELS
from db.jobs.jobs import JobRow
from inkmill.show.display import command_line
from inkmill.show.terminal import messages
from producer.submit import SubmitOptions


def check_policy(job: JobRow, order: SubmitOptions) -> None:
    """Checks that the job has the flag policy of the order, and is scored as it says.

    Raises:
        UsageError: a reflag gave it another policy, or a rescore scores it otherwise; the message names it and the
            ways out.
    """
    differences = [
        f"its threshold for {label} is {_threshold(job.thresholds, label)}, this command's is "
        f"{_threshold(order.thresholds, label)}"
        for label in LABELS
        if _threshold(job.thresholds, label) != _threshold(order.thresholds, label)
    ]
    if job.blocklist != order.blocklist:
        differences.append("it has another blocklist")
    if job.score_by is not order.score_by:
        raise _changed(job, "rescored", [f"it is scored by {job.score_by}, this command's is {order.score_by}"],
                       ("rescore", str(job.id), "--score-by", order.score_by))  # fmt: skip
    if differences:
        raise _changed(job, "reflagged", differences, ("reflag", str(job.id), *_reflag_options(job, order)))


def _changed(job: JobRow, how: str, differences: Sequence[str], back: Sequence[str]) -> UsageError:
    return UsageError(
        f"job {job.id} was submitted from this file, but has been {how} since: {'; '.join(differences)}. To go "
        f"back, run '{command_line(*back)}', then this command again; "
        f"'{command_line('export', str(job.id), '-o', 'FILE')}' exports the job as it is; --again makes a new one"
    )


def note_dropped_options(job: JobRow, order: SubmitOptions) -> None:
    """Says which of the order's options do not bind the job: it may have been retried with --any-worker, and has its
    name."""
    options = (("--device", order.device, job.device), ("--dtype", order.dtype, job.dtype))
    dropped = [f"{option} {ordered}" for option, ordered, stored in options if ordered != stored]
    if dropped:
        messages.print(
            f"note: job {job.id} may now run on any worker; it is no longer bound to {' and '.join(dropped)}",
            markup=False,
        )
    if order.name not in (None, job.name):
        messages.print(f"note: job {job.id} keeps its name, {job.name}; --name is for new jobs", markup=False)


def _reflag_options(job: JobRow, order: SubmitOptions) -> list[str]:
    """The options of a reflag that restores the order's policy."""
    words = ["--reset-thresholds"]
    words += [word for label, value in order.thresholds.items() for word in ("--threshold", f"{label}={value}")]
    if job.blocklist == order.blocklist:
        return words
    return [*words, "--blocklist", "FILE" if order.blocklist else "/dev/null"]


def _threshold(thresholds: Mapping[str, float], label: str) -> float:
    return thresholds.get(label, DEFAULT_THRESHOLD)
