"""The pages that follow jobs: the list, and one job live."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from common.wording import counted
from contract.errors import UsageError
from contract.failures import parse_code
from contract.sampling import read_settings
from db.job_differences import as_words, differences
from db.jobs.jobs import get_job, list_jobs, pause_job, resume_job
from db.jobs.retry import retry_job
from db.jobs.status import snapshots
from db.results.export_rows import reading_results
from db.results.json_lines import json_line
from review.context import CurrentPage, Page, safe_address
from review.live.stream import events
from review.security.form import CurrentForm
from review.show.job_overview import JobId, job_overview, overview_of

SHOWN = 50
JOB_SECONDS, LIST_SECONDS = 1.0, 2.0
SPOOLED_BYTES = 1 << 20

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
        read = partial(_listed, page, before)
        listed = page.services.shared_reads.get(("jobs", before), read, LIST_SECONDS / 2)
        return page.fragment("_jobs.html", before=before, **listed)

    return events(page, look, seconds=LIST_SECONDS)


def _listed(page: Page, before: int | None) -> dict[str, Any]:
    database, reads = page.database, page.services.shared_reads
    listed = [overview_of(database, job, reads) for job in snapshots(database, limit=SHOWN + 1, before=before)]
    differ = differences(list_jobs(database, SHOWN, before=before))
    told_apart = {job: as_words(values) for job, values in differ.items()}
    return {"jobs": listed[:SHOWN], "more": len(listed) > SHOWN, "differ": told_apart}


@router.get("/jobs/{job_id}", response_model=None)
def job(page: CurrentPage, job_id: JobId) -> Response:
    """One job: its progress, its failures, its settings."""
    return page.render(
        "job.html",
        current="jobs",
        job=get_job(page.database, job_id),
        overview=job_overview(page.database, job_id, page.services.shared_reads),
    )


@router.get("/jobs/{job_id}/events", response_model=None)
def follow_job(page: CurrentPage, job_id: JobId) -> Response:
    """One job, live: one database read a second for all who have it open."""
    get_job(page.database, job_id)

    def look() -> str:
        read = partial(job_overview, page.database, job_id, page.services.shared_reads)
        overview = page.services.shared_reads.get(("job", job_id), read, JOB_SECONDS / 2)
        return page.fragment("_job.html", overview=overview)

    return events(page, look, seconds=JOB_SECONDS)


@router.get("/jobs/{job_id}/failed.jsonl", response_model=None)
def failed(page: CurrentPage, job_id: JobId, code: Annotated[str, Query()] = "") -> Response:
    """Dead and cancelled prompts, to be corrected and submitted: those of one code, or all."""
    wanted = parse_code(code) if code else None
    # Read first, then sent: a slow browser must not hold a transaction open.
    file = SpooledTemporaryFile[bytes](SPOOLED_BYTES)
    with (
        reading_results(page.database, get_job(page.database, job_id)) as results,
        closing(results.lost_prompts(wanted)) as lost,
    ):
        file.writelines(json_line(prompt.line(job_id)) for prompt in lost)
    file.seek(0)
    name = f"job-{job_id}.{wanted or 'failed'}.jsonl"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(_blocks(file), media_type="application/x-ndjson", headers=headers)


def _blocks(file: SpooledTemporaryFile[bytes]) -> Iterator[bytes]:
    with file:
        while block := file.read(SPOOLED_BYTES):
            yield block


@router.post("/jobs/{job_id}/retry", response_model=None)
def retry(page: CurrentPage, job_id: JobId, form: CurrentForm) -> Response:
    """Retries what failed: prompts that failed for one reason, or everything."""
    get_job(page.database, job_id)
    code, on_too_long = form.one("code"), form.one("on_too_long")
    settings = read_settings({"on_too_long": on_too_long}) if on_too_long else {}
    # No message is sent: the workers' maintenance finds the new batches in SQL within seconds.
    retried = retry_job(
        page.database, job_id, code=parse_code(code) if code else None, settings=settings, by=page.reviewer
    )
    texts = f" and {counted(retried.texts, 'text')}" if retried.texts else ""
    return page.back(f"/jobs/{job_id}", f"{counted(retried.prompts, 'prompt')}{texts} queued again.")


@router.post("/jobs/{job_id}/pause", response_model=None)
def pause(page: CurrentPage, job_id: JobId, form: CurrentForm) -> Response:
    """Pauses a job: nothing more of it is claimed."""
    return _steered(page, job_id, form, pause_job, "is paused. Texts that are being written are given back.")


@router.post("/jobs/{job_id}/resume", response_model=None)
def resume(page: CurrentPage, job_id: JobId, form: CurrentForm) -> Response:
    """Queues a paused job again."""
    return _steered(page, job_id, form, resume_job, "is queued again.")


def _steered(page: CurrentPage, job_id: int, form: CurrentForm, steer: Callable[..., None], words: str) -> Response:
    get_job(page.database, job_id)
    back = safe_address(form.one("back") or f"/jobs/{job_id}")
    try:
        steer(page.database, job_id, by=page.reviewer)
    except UsageError as error:  # it went on while the page showed the button
        return page.back(back, f"{error}".capitalize() + ".", notice_kind="warning")
    return page.back(back, f"Job {job_id} {words}")
