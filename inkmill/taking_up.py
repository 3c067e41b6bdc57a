"""Whether a job still is what the command said that submitted it: a reflag or a retry may have changed it since.

Compares and tells; what becomes of the job is `running`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping

from contract.errors import UsageError
from contract.policy import DEFAULT_THRESHOLD, LABELS
from db.jobs.jobs import JobRow
from inkmill.display import messages, typed
from producer.submit import Order


def check_policy(job: JobRow, order: Order) -> None:
    """Makes sure that the job flags what the order says.

    Raises:
        UsageError: a reflag gave it another policy; saying which, and the ways out.
    """
    differences = [
        f"{label} is flagged from {_threshold(job.thresholds, label)}, this command says "
        f"{_threshold(order.thresholds, label)}"
        for label in LABELS
        if _threshold(job.thresholds, label) != _threshold(order.thresholds, label)
    ]
    if job.blocklist != order.blocklist:
        differences.append("its blocklist is not this command's")
    if differences:
        raise UsageError(
            f"job {job.id} is this file, but was reflagged since: {'; '.join(differences)}. To go back, say "
            f"'{typed('reflag', str(job.id), *_policy(job, order))}' and this command again; "
            f"'{typed('export', str(job.id), '-o', 'FILE')}' writes the job as it stands; --again makes a new one"
        )


def say_where_it_runs(job: JobRow, order: Order) -> None:
    """Says where the job may run elsewhere than the order says: `retry --any-worker` let go of that."""
    said = (("--device", order.device, job.device), ("--dtype", order.dtype, job.dtype))
    let_go = [f"{option} {ordered}" for option, ordered, stored in said if ordered != stored]
    if let_go:
        messages.print(
            f"note: job {job.id} was given to any worker since, and is no longer bound to {' and '.join(let_go)}",
            markup=False,
        )


def _policy(job: JobRow, order: Order) -> list[str]:
    """The options of a reflag that give the job the order's policy again."""
    words = ["--reset-thresholds"]
    words += [word for label, value in order.thresholds.items() for word in ("--threshold", f"{label}={value}")]
    if job.blocklist == order.blocklist:
        return words
    return [*words, "--blocklist", "FILE" if order.blocklist else "/dev/null"]


def _threshold(thresholds: Mapping[str, float], label: str) -> float:
    return thresholds.get(label, DEFAULT_THRESHOLD)
