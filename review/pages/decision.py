"""Decisions, from forms and from the page's own script; both are safe to send twice."""

from __future__ import annotations

from fastapi import APIRouter, BackgroundTasks
from starlette.responses import JSONResponse, Response

from contract.errors import ClaimedByOther, Stale, UsageError
from contract.review import UNREAD, Action, Seen
from db.review.decisions.acts import decide, undo
from db.review.decisions.rules import StoredDecision
from db.review.detail import OutputDetail, read_output
from review.context import CurrentPage, Page
from review.error_pages import answer
from review.live.hints import send_hint
from review.queue_view import CurrentView, OutputId, QueueView
from review.reading import covers, read_seen
from review.security.form import CurrentForm, Form
from review.show import formatting

OUTCOMES = {
    "approved": "approved",
    "rejected": "rejected",
    "edited": "edited",
    "waiting": "edited, waiting to be scored",
    "pending": "open again",
    "unflagged": "open again",
}

FIELDS = ("view", "output", "expected", "key", "action", "reason", "text", "seen")
"""Of a decision's form, for asking once and sending it again."""

router = APIRouter()


@router.post("/outputs/{output_id}/decisions", response_model=None)
def decide_one(
    page: CurrentPage, view: CurrentView, form: CurrentForm, output_id: OutputId, background: BackgroundTasks
) -> Response:
    """Stores one decision, after asking where it would be made unread or over a colleague's."""
    action, seen = _action(form.one("action")), read_seen(form.one("seen"))
    text = form.one("text") if action is Action.EDIT else None
    if asked := _unread(page, view, output_id, form, action, seen) or _over(page, view, output_id, form):
        return asked
    try:
        decided = decide(
            page.database, output_id, page.reviewer, action, reason=form.one("reason").strip() or None, text=text,
            expected=form.number("expected"), key=form.one("key") or None, seen=seen,
        )  # fmt: skip
    except (Stale, ClaimedByOther) as error:
        return _refused(page, view, output_id, error, text)
    send_hint(background, decided.classifier, decided.request)
    return _stored(page, view.address("/queue", after=output_id), decided)


@router.post("/undo", response_model=None)
def undo_one(page: CurrentPage, view: CurrentView, form: CurrentForm) -> Response:
    """Undoes the reviewer's last decision, or the one on an output."""
    output, expected = form.number("output"), form.number("expected")
    if output is not None and expected is not None and (asked := _over(page, view, output, form)):
        return asked
    undone = undo(page.database, page.reviewer, output, expected=expected, key=form.one("key") or None)
    return _stored(page, view.address(f"/outputs/{undone.output_id}"), undone)


def _action(value: str) -> Action:
    if value not in (Action.APPROVE, Action.REJECT, Action.EDIT):
        raise UsageError(f"action: {value[:40]!r} is not one of approve, reject, edit")
    return Action(value)


def _unread(
    page: Page, view: QueueView, output_id: int, form: Form, action: Action, seen: Seen | None
) -> Response | None:
    """The answer to an approval of a covered text that its reviewer has not revealed; None to any other decision."""
    if action is not Action.APPROVE or seen not in (None, *UNREAD):
        return None
    output = read_output(page.database, output_id)
    if _is_stale(output, form) or not covers(page, output.top_score, output.safety):
        return None
    words = f"Output {output.id} is covered: reveal it and read it before you approve it. Nothing was stored."
    if page.wants_json:
        return answer(page, 409, "hidden", "Covered", words)
    return page.back(view.address(f"/outputs/{output.id}"), words, notice_kind="warning")


def _over(page: Page, view: QueueView, output_id: int, form: Form) -> Response | None:
    """Asks whether a colleague's decision is to be replaced; None where there is none, or that was asked."""
    output = read_output(page.database, output_id)
    if output.decided_by in (None, page.reviewer) or _is_stale(output, form):
        return None
    if form.one("over") == str(output.version):
        return None
    words = f"{output.decided_by} has decided this output: it is {output.state}. Nothing was stored."
    if page.wants_json:
        return answer(page, 409, "decided", "Decided by someone else", words, by=output.decided_by)
    fields = {name: form.one(name) for name in FIELDS if form.one(name)} | {"over": str(output.version)}
    return page.render("over.html", status=409, current="queue", output=output, view=view, fields=fields)


def _is_stale(output: OutputDetail, form: Form) -> bool:
    """Whether somebody decided since: the refusal says more than a question would."""
    return form.number("expected") not in (None, output.version)


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
