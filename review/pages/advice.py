"""The threshold advice page: what another threshold would flag and miss, and applying it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import APIRouter
from markupsafe import Markup
from starlette.responses import Response

from common.wording import counted
from contract.errors import UsageError
from contract.policy import DEFAULT_THRESHOLD, LABELS, NO_SAFETY, unknown_label
from db.insights.advice import evidence
from db.insights.figures import labels_of
from db.jobs.jobs import JobRow, get_job
from review.context import CurrentPage, Page
from review.security.form import CurrentForm
from review.show import formatting
from review.show.charts.job_charts import queue_link
from review.show.charts.line_chart import Curve, LineChart
from review.show.job_overview import JobId
from review.stats.advice import Advice, Basis, advise, basis

WAIT_SECONDS = 3.0

router = APIRouter()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelAdvice:
    """The advice for one label, ready to show."""

    label: str
    current_threshold: float
    advice: tuple[Advice, ...]
    basis: Basis
    counted: int
    total: int

    @property
    def now(self) -> Advice:
        return next(advice for advice in self.advice if advice.is_current)

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
    other = round(read_threshold(at), 2) if at.strip() else None  # the evidence is binned in hundredths
    label_advice = _label_advice(page, job, chosen, other) if chosen else None
    return page.render(
        "advice.html",
        current="jobs",
        job=job,
        labels=labels,
        label_advice=label_advice,
        other=other,
        run=page.services.reflags.last(job_id),
        adds=lambda one: _adds(job_id, chosen, one, label_advice.current_threshold if label_advice else 0.0),
        drops=lambda one: _drops(job_id, chosen, one, label_advice.current_threshold if label_advice else 0.0),
    )


@router.post("/jobs/{job_id}/advice", response_model=None)
def apply_threshold(page: CurrentPage, job_id: JobId, form: CurrentForm) -> Response:
    """Reflags a job with another threshold for one label; all other labels keep theirs."""
    job = get_job(page.database, job_id)
    label, threshold = form.one("label"), read_threshold(form.one("threshold"))
    if label not in LABELS:
        raise UsageError(f"label: {unknown_label(label)}")
    current_threshold = job.thresholds.get(label, DEFAULT_THRESHOLD)
    if abs(read_threshold(form.one("current")) - current_threshold) > 1e-9:
        raise UsageError(f"the threshold for {formatting.label(label)} is now {current_threshold:g}; reload the page")
    run = page.services.reflags.start(job_id, label, threshold, WAIT_SECONDS, page.reviewer)
    address = f"/jobs/{job_id}/advice?" + urlencode({"label": label})
    if run.error:
        return page.back(address, f"Reflagging failed: {run.error}", notice_kind="danger")
    if run.result is None:
        return page.back(address, f"Reflagging by {formatting.label(label)} at {threshold:g} is in progress.")
    flagged = counted(run.result.flagged, "output is", "outputs are")
    counts = f"{flagged} flagged now; {run.result.changed:,} changed."
    return page.back(address, f"The threshold for {formatting.label(label)} is now {threshold:g}. {counts}")


def read_threshold(value: str) -> float:
    """A threshold from an address or a form.

    Raises:
        UsageError: it is not a number from 0 to 1.
    """
    try:
        threshold = float(value)
    except ValueError:
        threshold = -1.0
    if not 0 <= threshold <= 1:
        raise UsageError(f"threshold: must be a number from 0 to 1, not {value[:40]!r}")
    return round(threshold, 4)


def _label_advice(page: Page, job: JobRow, label: str, other: float | None) -> LabelAdvice:
    current_threshold = job.thresholds.get(label, DEFAULT_THRESHOLD)
    judged = evidence(page.database, job.id, label)
    return LabelAdvice(
        label=label,
        current_threshold=round(current_threshold, 4),
        advice=advise(judged, current_threshold, [] if other is None else [other]),
        basis=basis(judged),
        counted=judged.counted,
        total=judged.total,
    )


def _adds(job_id: int, label: str, one: Advice, current_threshold: float) -> str:
    """The outputs that this threshold would flag and the current one does not."""
    return queue_link(job_id, state="unflagged", label=label, low=f"{one.threshold:g}", high=f"{current_threshold:g}")


def _drops(job_id: int, label: str, one: Advice, current_threshold: float) -> str:
    """The outputs that the current threshold flags by this label and this one would not."""
    return queue_link(job_id, state="flagged", label=label, low=f"{current_threshold:g}", high=f"{one.threshold:g}")


def _curves(label_advice: LabelAdvice) -> LineChart:
    name = formatting.label(label_advice.label)
    known = sum(one.precision is not None for one in label_advice.advice)
    return LineChart(
        name="curves",
        title=f"Precision and recall by threshold for {name}",
        description=f"Precision is known at {known} of {len(label_advice.advice)} thresholds, recall at "
        f"{sum(one.recall is not None for one in label_advice.advice)}; the table below has the figures.",
        axis=f"threshold for {name}",
        curves=(
            Curve("Precision", "precision", [(one.threshold, one.precision) for one in label_advice.advice]),
            Curve("Recall", "recall", [(one.threshold, one.recall) for one in label_advice.advice], square=True),
        ),
        mark=(label_advice.current_threshold, f"threshold {label_advice.current_threshold:g}"),
    )
