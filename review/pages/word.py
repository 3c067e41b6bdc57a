"""Requesting the words behind a score: a worker finds them, and the page shows them when they are ready."""

from __future__ import annotations

from fastapi import APIRouter, BackgroundTasks
from starlette.responses import JSONResponse, Response

from db.work.score_requests import mark_words, score_again
from review.context import CurrentPage
from review.live.announcing import announce
from review.security.form import CurrentForm
from review.views import CurrentView, OutputId

router = APIRouter()


@router.post("/outputs/{output_id}/words", response_model=None)
def ask(page: CurrentPage, view: CurrentView, output_id: OutputId, later: BackgroundTasks) -> Response:
    """Requests the words behind a score."""
    words = mark_words(page.database, output_id)
    announce(later, words.classifier, words.request)
    if page.wants_json:
        return JSONResponse({"status": words.status, "served": words.served})
    return page.back(view.address(f"/outputs/{output_id}", reveal=1))


@router.post("/outputs/{output_id}/score-again", response_model=None)
def again(page: CurrentPage, view: CurrentView, form: CurrentForm, output_id: OutputId) -> Response:
    """Queues an edit whose scoring failed again."""
    score_again(page.database, output_id)
    return page.back(view.address(f"/outputs/{output_id}"), "The edited text is queued for scoring.")
