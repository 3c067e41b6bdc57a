"""The threshold advice page: what another threshold would flag and miss, and applying it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import APIRouter
from markupsafe import Markup
from starlette.responses import Response

from contract.errors import UsageError
from contract.policy import DEFAULT_THRESHOLD, LABELS, NO_SAFETY, unknown_label
from db.insights.advice import evidence
from db.insights.figures import labels_of
from db.jobs.jobs import JobRow, get_job
from review.context import CurrentPage, Page
from review.reflagging import Reflagging
from review.security.form import CurrentForm
from review.show import words
from review.show.job_now import JobId
from review.show.pictures.curves import Curve, Curves
from review.show.pictures.figures import queue_link
from review.stats.advice import Advice, Basis, advise, basis

WAIT_SECONDS = 3.0

router = APIRouter()
reflagging = Reflagging()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counsel:
    """The advice for one label, ready to show."""

    label: str
    present: float
    advice: tuple[Advice, ...]
    basis: Basis
    counted: int
    total: int

    @property
    def now(self) -> Advice:
        return next(advice for advice in self.advice if advice.present)

    @property
    def svg(self) -> Markup:
        return _curves(self).svg()


@router.get("/jobs/{job_id}/advice", response_model=None)
def advice(page: CurrentPage, job_id: JobId, label: str = "", at: str = "") -> Response:
    """The advice for one label; `at` is one more threshold to look at."""
    job = get_job(page.database, job_id)
    labels = [] if job.safety == NO_SAFETY else labels_of(page.database, job_id)
    if label and label not in labels:
        raise UsageError(
            f"label: {label[:40]!r} is not a label of job {job_id}: {', '.join(labels) or 'it has no scores'}"
        )
    chosen = label or (labels[0] if labels else "")
    asked = round(read_threshold(at), 2) if at.strip() else None  # the evidence is binned in hundredths
    counsel = _counsel(page, job, chosen, asked) if chosen else None
    return page.render(
        "advice.html",
        current="jobs",
        job=job,
        labels=labels,
        counsel=counsel,
        asked=asked,
        run=reflagging.of(page.database, job_id),
        adds=lambda one: _adds(job_id, chosen, one, counsel.present if counsel else 0.0),
        drops=lambda one: _drops(job_id, chosen, one, counsel.present if counsel else 0.0),
    )


@router.post("/jobs/{job_id}/advice", response_model=None)
def apply(page: CurrentPage, job_id: JobId, form: CurrentForm) -> Response:
    """Reflags a job with another threshold for one label; all other labels keep theirs."""
    job = get_job(page.database, job_id)
    label, threshold = form.one("label"), read_threshold(form.one("threshold"))
    if label not in LABELS:
        raise UsageError(f"label: {unknown_label(label)}")
    present = job.thresholds.get(label, DEFAULT_THRESHOLD)
    if abs(read_threshold(form.one("present")) - present) > 1e-9:
        raise UsageError(f"the threshold for {words.label(label)} is now {present:g}; reload the page")
    run = reflagging.start(page.database, job_id, label, threshold, WAIT_SECONDS)
    address = f"/jobs/{job_id}/advice?" + urlencode({"label": label})
    if run.failed:
        return page.back(address, f"Reflagging failed: {run.failed}", notice_kind="danger")
    if run.done is None:
        return page.back(address, f"Reflagging by {words.label(label)} at {threshold:g} is in progress.")
    said = f"{run.done.flagged:,} outputs are flagged now; {run.done.changed:,} changed."
    return page.back(address, f"The threshold for {words.label(label)} is now {threshold:g}. {said}")


def read_threshold(said: str) -> float:
    """A threshold from an address or a form.

    Raises:
        UsageError: it is not a number from 0 to 1.
    """
    try:
        value = float(said)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(f"threshold: must be a number from 0 to 1, not {said[:40]!r}")
    return round(value, 4)


def _counsel(page: Page, job: JobRow, label: str, asked: float | None) -> Counsel:
    present = job.thresholds.get(label, DEFAULT_THRESHOLD)
    found = evidence(page.database, job.id, label)
    return Counsel(
        label=label,
        present=round(present, 4),
        advice=advise(found, present, [] if asked is None else [asked]),
        basis=basis(found),
        counted=found.counted,
        total=found.total,
    )


def _adds(job_id: int, label: str, one: Advice, present: float) -> str:
    """The outputs that this threshold would flag and the current one does not."""
    return queue_link(job_id, state="unflagged", label=label, low=f"{one.threshold:g}", high=f"{present:g}")


def _drops(job_id: int, label: str, one: Advice, present: float) -> str:
    """The outputs that the current threshold flags by this label and this one would not."""
    return queue_link(job_id, state="flagged", label=label, low=f"{present:g}", high=f"{one.threshold:g}")


def _curves(counsel: Counsel) -> Curves:
    name = words.label(counsel.label)
    known = sum(one.precision is not None for one in counsel.advice)
    return Curves(
        name="curves",
        title=f"Precision and recall by threshold for {name}",
        description=f"Precision is known at {known} of {len(counsel.advice)} thresholds, recall at "
        f"{sum(one.recall is not None for one in counsel.advice)}; the table below has the figures.",
        axis=f"threshold for {name}",
        curves=(
            Curve("Precision", "precision", [(one.threshold, one.precision) for one in counsel.advice]),
            Curve("Recall", "recall", [(one.threshold, one.recall) for one in counsel.advice]),
        ),
        mark=(counsel.present, f"threshold {counsel.present:g}"),
    )
