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
from review.live.hints import send_hint
from review.queue_view import CurrentView, OutputId, QueueView
from review.security.form import CurrentForm
from review.show import formatting

OUTCOMES = {
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
    page: CurrentPage, view: CurrentView, form: CurrentForm, output_id: OutputId, background: BackgroundTasks
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
    send_hint(background, decided.classifier, decided.request)
    return _stored(page, view.address("/queue", after=output_id), decided)


@router.post("/undo", response_model=None)
def undo_one(page: CurrentPage, view: CurrentView, form: CurrentForm) -> Response:
    """Undoes the reviewer's last decision, or the one on an output."""
    undone = undo(page.database, page.reviewer, form.number("output"), expected=form.number("expected"),
                  key=form.one("key") or None)  # fmt: skip
    return _stored(page, view.address(f"/outputs/{undone.output_id}"), undone)


def _action(value: str) -> Action:
    if value not in (Action.APPROVE, Action.REJECT, Action.EDIT):
        raise UsageError(f"action: {value[:40]!r} is not one of approve, reject, edit")
    return Action(value)


def _stored(page: Page, next_address: str, decided: StoredDecision) -> Response:
    outcome = OUTCOMES[decided.to_state]
    if page.wants_json:
        return JSONResponse({
            "output": decided.output_id, "state": decided.to_state, "version": decided.version, "outcome": outcome,
        })  # fmt: skip
    return page.back(next_address, f"Output {decided.output_id} is {outcome}.")


def _refused(page: Page, view: QueueView, output_id: int, error: Stale | ClaimedByOther, text: str | None) -> Response:
    """What the other reviewer decided; an edited text is shown again, so that it need not be retyped."""
    if page.wants_json:
        raise error
    output = read_output(page.database, output_id)
    return page.render("conflict.html", status=409, current="queue", output=output, view=view, error=error, text=text,
                       stale=isinstance(error, Stale), when=formatting.ago(getattr(error, "at", None)))  # fmt: skip
