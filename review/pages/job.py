"""The pages that follow jobs: the list, and one job live."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from common.wording import counted
from db.jobs.jobs import get_job
from db.jobs.retry import retry_job
from db.jobs.status import snapshots
from review.context import CurrentPage
from review.live.stream import events
from review.security.form import CurrentForm
from review.show.job_overview import JobId, JobOverview, job_overview, overview_of

SHOWN = 50
JOB_SECONDS, LIST_SECONDS = 1.0, 2.0

router = APIRouter()

Before = Annotated[int | None, Query(ge=1, le=2**62)]


@router.get("/jobs", response_model=None)
def jobs(page: CurrentPage, before: Before = None) -> Response:
    """The newest jobs, or those before one."""
    return page.render("jobs.html", current="jobs", before=before, **_listed(page, before))


@router.get("/jobs/events", response_model=None)
def follow_jobs(page: CurrentPage, before: Before = None) -> Response:
    """The list, live."""

    def look() -> str:
        return page.fragment("_jobs.html", before=before, **_listed(page, before))

    return events(page, look, seconds=LIST_SECONDS)


def _listed(page: CurrentPage, before: int | None) -> dict[str, Any]:
    def read() -> list[JobOverview]:
        return [overview_of(page.database, job) for job in snapshots(page.database, limit=SHOWN + 1, before=before)]

    listed = page.services.shared_reads.get(("jobs", before), read, LIST_SECONDS / 2)
    return {"jobs": listed[:SHOWN], "more": len(listed) > SHOWN}


@router.get("/jobs/{job_id}", response_model=None)
def job(page: CurrentPage, job_id: JobId) -> Response:
    """One job: its progress, its failures, its settings."""
    return page.render(
        "job.html",
        current="jobs",
        job=get_job(page.database, job_id),
        overview=job_overview(page.database, job_id),
    )


@router.get("/jobs/{job_id}/events", response_model=None)
def follow_job(page: CurrentPage, job_id: JobId) -> Response:
    """One job, live: one database read a second for all who have it open."""
    get_job(page.database, job_id)

    def look() -> str:
        read = partial(job_overview, page.database, job_id)
        overview = page.services.shared_reads.get(("job", job_id), read, JOB_SECONDS / 2)
        return page.fragment("_job.html", overview=overview)

    return events(page, look, seconds=JOB_SECONDS)


@router.post("/jobs/{job_id}/retry", response_model=None)
def retry(page: CurrentPage, job_id: JobId, form: CurrentForm) -> Response:
    """Retries what failed: prompts that failed for one reason, or everything."""
    get_job(page.database, job_id)
    # No message is sent: the workers' maintenance finds the new batches in SQL within seconds.
    retried = retry_job(page.database, job_id, reason=form.one("reason") or None, by=page.reviewer)
    texts = f" and {counted(retried.texts, 'text')}" if retried.texts else ""
    return page.back(f"/jobs/{job_id}", f"{counted(retried.prompts, 'prompt')}{texts} queued again.")
