"""Decisions, from forms and from the page's own script; both are safe to send twice."""

from __future__ import annotations

from fastapi import APIRouter, BackgroundTasks
from starlette.responses import JSONResponse, Response

from contract.errors import ClaimedByOther, Stale, UsageError
from contract.review import Action
from db.review.decisions.acts import decide, undo
from db.review.decisions.rules import StoredDecision
from db.review.detail import read_output
from review.context import CurrentPage, Page
from review.live.announcing import announce
from review.security.form import CurrentForm
from review.show import words
from review.views import CurrentView, OutputId, View

SAID = {
    "approved": "approved",
    "rejected": "rejected",
    "edited": "edited",
    "waiting": "edited, waiting to be scored",
    "pending": "open again",
    "unflagged": "open again",
}

router = APIRouter()


@router.post("/outputs/{output_id}/decisions", response_model=None)
def decide_one(
    page: CurrentPage, view: CurrentView, form: CurrentForm, output_id: OutputId, later: BackgroundTasks
) -> Response:
    """Stores one decision."""
    action = _action(form.one("action"))
    text = form.one("text") if action is Action.EDIT else None
    try:
        decided = decide(
            page.database, output_id, page.reviewer, action, reason=form.one("reason").strip() or None, text=text,
            expected=form.number("expected"), key=form.one("key") or None,
        )  # fmt: skip
    except (Stale, ClaimedByOther) as error:
        return _refused(page, view, output_id, error, text)
    announce(later, decided.classifier, decided.request)
    return _taken(page, view.address("/queue", after=output_id), decided)


@router.post("/undo", response_model=None)
def undo_one(page: CurrentPage, view: CurrentView, form: CurrentForm) -> Response:
    """Undoes the reviewer's last decision, or the one on an output."""
    undone = undo(page.database, page.reviewer, form.number("output"), expected=form.number("expected"),
                  key=form.one("key") or None)  # fmt: skip
    return _taken(page, view.address(f"/outputs/{undone.output_id}"), undone)


def _action(said: str) -> Action:
    if said not in (Action.APPROVE, Action.REJECT, Action.EDIT):
        raise UsageError(f"action: {said[:40]!r} is not one of approve, reject, edit")
    return Action(said)


def _taken(page: Page, onwards: str, decided: StoredDecision) -> Response:
    said = SAID[decided.to_state]
    if page.wants_json:
        return JSONResponse({
            "output": decided.output_id, "state": decided.to_state, "version": decided.version, "said": said,
        })  # fmt: skip
    return page.back(onwards, f"Output {decided.output_id} is {said}.")


def _refused(page: Page, view: View, output_id: int, error: Stale | ClaimedByOther, text: str | None) -> Response:
    """What the other reviewer decided; an edited text is shown again, so that it need not be retyped."""
    if page.wants_json:
        raise error
    output = read_output(page.database, output_id)
    return page.render("conflict.html", status=409, current="queue", output=output, view=view, error=error, text=text,
                       stale=isinstance(error, Stale), when=words.ago(getattr(error, "at", None)))  # fmt: skip
