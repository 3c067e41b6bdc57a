"""The page of a job's pictures."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter
from starlette.responses import Response

from db.insights.figures import Insights, insights
from db.jobs.status import JobSnapshot, snapshot
from db.session.engine import Database
from review.context import CurrentPage
from review.live.watching import Watched
from review.show.job_now import JobId, found_job, known
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
"""How long figures are kept: a job that is over changes only by what is part of the topic."""

router = APIRouter()
watched = Watched()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """All that is drawn of a job."""

    found: Insights
    scores: list[Figure]
    times: list[Figure]
    lengths: Figure | None
    finishes: Comparison | None
    keys: list[Comparison]


def draw(found: Insights, job_id: int, thresholds: dict[str, float], *, links: bool) -> Pictures:
    """The pictures of a job's figures.

    Args:
        links: whether bars lead to the queue; a report has none.
    """
    return Pictures(
        found=found,
        scores=score_figures(found, job_id, thresholds, links=links),
        times=time_figures(found),
        lengths=length_figure(found),
        finishes=finish_comparison(found),
        keys=key_comparisons(found),
    )


@router.get("/jobs/{job_id}/pictures", response_model=None)
def pictures(page: CurrentPage, job_id: JobId) -> Response:
    """A job's figures, drawn."""
    job = found_job(page.database, job_id)
    now = known(lambda: snapshot(page.database, job_id))
    drawn = draw(_figures(page.database, now), job_id, job.thresholds, links=True)
    return page.render("pictures.html", current="jobs", job=job, drawn=drawn)


def _figures(database: Database, now: JobSnapshot) -> Insights:
    # What a retry, a reflag or an edit changes is in the topic, so that old figures are never shown for new ones.
    topic = (database.address, now.id, now.status, now.finished_at, now.generated, now.settled, now.flagged)
    return watched.look(topic, lambda: insights(database, now.id), OVER_SECONDS if now.finished else RUNNING_SECONDS)
