"""Claims on open outputs, and changes to an open output."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from contract.errors import ClaimedByOther, UsageError
from db.review.claims import claim_output, release_output
from db.review.detail import read_output
from db.work.score_requests import read_words
from review.card import fingerprint, held_by_colleague
from review.context import CurrentPage
from review.live.stream import events
from review.queue_view import OutputId
from review.reading import note_looks_of
from review.security.form import CurrentForm, whole_number

MOST_CLAIMS = 8
CHANGES_SECONDS = 1.0

router = APIRouter()


@router.post("/claims", response_model=None)
def hold_outputs(page: CurrentPage, form: CurrentForm) -> Response:
    """Takes or renews the claims on open outputs; returns those that someone else has. Notes what is on the screen."""
    note_looks_of(page, form)
    lost = {}
    for output in _outputs(form):
        try:
            claim_output(page.database, output, page.reviewer)
        except ClaimedByOther as error:
            lost[output] = error.by
    return JSONResponse({"lost": lost})


@router.post("/claims/release", response_model=None)
def release_outputs(page: CurrentPage, form: CurrentForm) -> Response:
    """Releases claims: the page was closed, or moved on."""
    for output in _outputs(form):
        release_output(page.database, output, page.reviewer)
    return JSONResponse({})


@router.get("/outputs/{output_id}/changes", response_model=None)
def changes(page: CurrentPage, output_id: OutputId) -> Response:
    """A stream of one output's state, version, pending scores and word highlights, for an open card."""
    read_output(page.database, output_id)  # fails now, while the response can still have an error status

    def read() -> str:
        output = read_output(page.database, output_id)
        return fingerprint(output, read_words(page.database, output_id), held_by_colleague(page, output))

    return events(page, read, seconds=CHANGES_SECONDS, event="output")


def _outputs(form: CurrentForm) -> list[int]:
    outputs = [whole_number(value, "output") for value in form.all("output")]
    if len(outputs) > MOST_CLAIMS:
        raise UsageError(f"output: at most {MOST_CLAIMS} at once")
    return outputs
