"""The bulk view: a table of outputs; a selection is counted and confirmed before it is decided, once."""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from contract.errors import UsageError
from contract.review import Action
from db.review.decisions.bulk import BulkResult, decide_many, decide_matching, undo_many
from db.review.progress import LEFT_CAP, review_progress
from db.review.queue import count_matching, matching_versions, read_page
from review.context import CurrentPage, Page
from review.pages.queue import done, filter_choices, short_address
from review.queue_view import CurrentView, QueueView, ShownView
from review.reading import covers, note_looks_of, read_by
from review.security.form import CurrentForm, Form, whole_number
from review.show.selection import packed, unpacked

TABLE_ROWS = 100
REASONS_SHOWN = 5

router = APIRouter()


@dataclass(frozen=True, slots=True)
class BulkDecision:
    """A bulk decision that is about to be made."""

    action: Action
    versions: dict[int, int] | None  # the ticked outputs and the versions seen; None = all that match

    @classmethod
    def of(cls, form: Form) -> BulkDecision:
        """From a form.

        Raises:
            UsageError: nothing is selected.
        """
        action = form.one("action")
        if action not in (Action.APPROVE, Action.REJECT):
            raise UsageError(f"action: {action[:40]!r} is neither approve nor reject")
        if form.one("scope") == "all":
            return cls(Action(action), None)
        selected = dict(_selected(value) for value in form.all("output"))
        if not selected:
            raise UsageError("nothing is selected: tick some rows, or select everything that matches")
        return cls(Action(action), selected)


def _selected(value: str) -> tuple[int, int]:
    output, _, version = value.partition(".")
    return whole_number(output, "output"), whole_number(version, "output")


@router.get("/bulk", response_model=None)
def table(page: CurrentPage, view: ShownView) -> Response:
    """A page of the view as a table; `reveal` shows its covered texts, all at once."""
    if short := short_address(page, view):
        return short
    cursor = page.request.query_params.get("cursor") or None
    rows = read_page(page.database, view.filter, cursor=cursor, limit=TABLE_ROWS, reviewer=page.reviewer)
    reveal = page.request.query_params.get("reveal") == "1"
    under_cover = {row.output_id for row in rows.rows if covers(page, row.top_score, row.safety)}
    listed = {row.output_id: row.revision for row in rows.rows if row.output_id not in under_cover}
    revealed = {row.output_id: row.revision for row in rows.rows if row.output_id in under_cover and reveal}
    return page.render(
        "bulk.html",
        status=400 if view.problems else 200,
        current="bulk",
        view=view,
        rows=rows,
        cursor=cursor,
        count=count_matching(page.database, view.filter, LEFT_CAP),
        progress=review_progress(page.database, view.filter, page.reviewer),
        choices=filter_choices(page, view),
        covered=lambda row: row.output_id in under_cover,
        covered_rows=len(under_cover),
        listed=packed(listed) if listed else "",
        revealed=packed(revealed) if revealed else "",
        reveal=reveal,
        nothing=done(page, view),
    )


@router.post("/bulk/confirm", response_model=None)
def confirm(page: CurrentPage, view: CurrentView, form: CurrentForm) -> Response:
    """How many outputs it would decide, before anything is stored."""
    decision = BulkDecision.of(form)
    note_looks_of(page, form)
    return _confirm(page, view, decision)


@router.post("/bulk/decisions", response_model=None)
def decide(page: CurrentPage, view: CurrentView, form: CurrentForm) -> Response:
    """Decides the selection, once."""
    decision = BulkDecision.of(form)
    reason, key = form.one("reason").strip() or None, form.one("key") or _random_key()
    if decision.versions is not None:
        looks = read_by(page, list(decision.versions)).looks
        result = decide_many(page.database, list(decision.versions), page.reviewer, decision.action, reason=reason,
                             expected=decision.versions, key=key, looks=looks)  # fmt: skip
        return _result(page, view, decision.action, result, key)
    seen = unpacked(form.one("selection"))
    result = decide_matching(page.database, view.filter, page.reviewer, decision.action, seen=seen, reason=reason,
                             key=key, looks=read_by(page, list(seen)).looks)  # fmt: skip
    return _result(page, view, decision.action, result, key)


@router.post("/bulk/undo", response_model=None)
def undo(page: CurrentPage, view: CurrentView, form: CurrentForm) -> Response:
    """Undoes a bulk decision."""
    key = form.one("key") or _random_key()
    return _result(page, view, Action.UNDO, undo_many(page.database, form.one("of"), page.reviewer, key=key), key)


def _random_key() -> str:
    """An idempotency key for a bulk decision: submitted twice, it is still one decision."""
    return secrets.token_urlsafe(16)


def _confirm(page: Page, view: QueueView, decision: BulkDecision) -> Response:
    versions = dict(matching_versions(page.database, view.filter)) if decision.versions is None else decision.versions
    return page.render(
        "confirm.html",
        current="bulk",
        view=view,
        decision=decision,
        number=len(versions),
        reading=read_by(page, list(versions)),
        selection=packed(versions) if decision.versions is None else "",
        key=_random_key(),
    )


def _result(page: Page, view: QueueView, action: Action, result: BulkResult, key: str) -> Response:
    reasons = Counter(skipped.why for skipped in result.skipped)
    values: dict[str, Any] = {
        "action": action,
        "done": result,
        "reasons": reasons.most_common(REASONS_SHOWN),
        "undo_of": key,
        "key": _random_key(),
    }
    return page.render("bulk_done.html", current="bulk", view=view, **values)
