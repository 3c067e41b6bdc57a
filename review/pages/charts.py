"""The charts page of a job."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from db.insights.figures import Insights, insights
from db.jobs.jobs import get_job
from db.jobs.status import JobSnapshot, snapshot
from review.context import CurrentPage, Page
from review.show.charts.job_charts import job_charts
from review.show.job_overview import JobId

RUNNING_SECONDS, FINISHED_SECONDS = 10.0, 3600.0
"""How long figures are cached: a finished job changes only by what is part of the topic."""

router = APIRouter()


@router.get("/jobs/{job_id}/charts", response_model=None)
def charts(page: CurrentPage, job_id: JobId) -> Response:
    """A job's figures as charts."""
    job = get_job(page.database, job_id)
    shown = job_charts(_insights(page, snapshot(page.database, job_id)), job_id, job.thresholds, links=True)
    return page.render("charts.html", current="jobs", job=job, charts=shown)


@router.get("/jobs/{job_id}/pictures", response_model=None)
def old_address(job_id: JobId) -> Response:
    """Where the charts were before."""
    return RedirectResponse(f"/jobs/{job_id}/charts", 303)


def _insights(page: Page, job: JobSnapshot) -> Insights:
    # Whatever a retry, a reflag or an edit changes is in the topic, so that stale figures are never shown.
    topic = ("charts", job.id, job.status, job.finished_at, job.generated, job.settled, job.flagged)
    seconds = FINISHED_SECONDS if job.finished else RUNNING_SECONDS
    return page.services.shared_reads.get(topic, lambda: insights(page.database, job.id), seconds)
