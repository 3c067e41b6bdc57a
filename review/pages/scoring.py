"""Requests to a classifier: the words behind a score, and scoring an edit again. A worker answers them."""

from __future__ import annotations

from fastapi import APIRouter, BackgroundTasks
from starlette.responses import JSONResponse, Response

from db.work.score_requests import mark_words, score_again
from review.context import CurrentPage
from review.live.hints import send_hint
from review.queue_view import CurrentView, OutputId
from review.security.form import CurrentForm

router = APIRouter()


@router.post("/outputs/{output_id}/words", response_model=None)
def highlight_words(page: CurrentPage, view: CurrentView, output_id: OutputId, background: BackgroundTasks) -> Response:
    """Requests the words behind a score."""
    words = mark_words(page.database, output_id)
    send_hint(background, words.classifier, words.request)
    if page.wants_json:
        return JSONResponse({"status": words.status, "served": words.served})
    return page.back(view.address(f"/outputs/{output_id}", reveal=1))


@router.post("/outputs/{output_id}/score-again", response_model=None)
def score_edit_again(page: CurrentPage, view: CurrentView, form: CurrentForm, output_id: OutputId) -> Response:
    """Queues an edit whose scoring failed again."""
    score_again(page.database, output_id)
    return page.back(view.address(f"/outputs/{output_id}"), "The edited text is queued for scoring.")
