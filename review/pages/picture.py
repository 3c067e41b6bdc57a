"""The charts page of a job."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from db.insights.figures import Insights, insights
from db.jobs.jobs import get_job
from db.jobs.status import JobSnapshot, snapshot
from review.context import CurrentPage, Page
from review.show.job_now import JobId
from review.show.pictures.figures import (
    Comparison,
    Figure,
    finish_comparison,
    key_comparisons,
    length_figure,
    score_figures,
    time_figures,
)

RUNNING_SECONDS, OVER_SECONDS = 10.0, 3600.0
"""How long figures are cached: a finished job changes only by what is part of the topic."""

router = APIRouter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """All charts of a job."""

    found: Insights
    scores: list[Figure]
    times: list[Figure]
    lengths: Figure | None
    finishes: Comparison | None
    keys: list[Comparison]


def draw(found: Insights, job_id: int, thresholds: dict[str, float], *, links: bool) -> Pictures:
    """The charts of a job's figures.

    Args:
        links: whether bars link to the queue; not in a report.
    """
    return Pictures(
        found=found,
        scores=score_figures(found, job_id, thresholds, links=links),
        times=time_figures(found),
        lengths=length_figure(found),
        finishes=finish_comparison(found),
        keys=key_comparisons(found),
    )


@router.get("/jobs/{job_id}/charts", response_model=None)
def charts(page: CurrentPage, job_id: JobId) -> Response:
    """A job's figures as charts."""
    job = get_job(page.database, job_id)
    now = snapshot(page.database, job_id)
    drawn = draw(_figures(page, now), job_id, job.thresholds, links=True)
    return page.render("pictures.html", current="jobs", job=job, drawn=drawn)


@router.get("/jobs/{job_id}/pictures", response_model=None)
def old_address(job_id: JobId) -> Response:
    """Where the charts were before."""
    return RedirectResponse(f"/jobs/{job_id}/charts", 303)


def _figures(page: Page, now: JobSnapshot) -> Insights:
    # Whatever a retry, a reflag or an edit changes is in the topic, so that stale figures are never shown.
    topic = ("charts", now.id, now.status, now.finished_at, now.generated, now.settled, now.flagged)
    seconds = OVER_SECONDS if now.finished else RUNNING_SECONDS
    return page.services.shared_reads.get(topic, lambda: insights(page.database, now.id), seconds)
