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
from db.review.progress import review_progress
from db.review.queue import matching_versions, read_page
from review.card import covers
from review.context import CurrentPage, Page
from review.pages.queue import filter_choices, tidied
from review.security.form import CurrentForm, Form, whole
from review.show.counted import packed, unpacked
from review.views import CurrentView, View

TABLE_ROWS = 100
REASONS_SHOWN = 5

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Choice:
    """A bulk decision that is about to be made."""

    action: Action
    versions: dict[int, int] | None  # the ticked outputs and the versions seen; None = all that match

    @classmethod
    def of(cls, form: Form) -> Choice:
        """From a form.

        Raises:
            UsageError: nothing is selected.
        """
        action = form.one("action")
        if action not in (Action.APPROVE, Action.REJECT):
            raise UsageError(f"action: {action[:40]!r} is neither approve nor reject")
        if form.one("scope") == "all":
            return cls(Action(action), None)
        chosen = dict(_chosen(value) for value in form.all("output"))
        if not chosen:
            raise UsageError("nothing is selected: tick some rows, or select everything that matches")
        return cls(Action(action), chosen)


def _chosen(value: str) -> tuple[int, int]:
    output, _, version = value.partition(".")
    return whole(output, "output"), whole(version, "output")


@router.get("/bulk", response_model=None)
def table(page: CurrentPage, view: CurrentView) -> Response:
    """A page of the view as a table."""
    if clean := tidied(page, view):
        return clean
    cursor = page.request.query_params.get("cursor") or None
    rows = read_page(page.database, view.filter, cursor=cursor, limit=TABLE_ROWS, reviewer=page.reviewer)
    now = review_progress(page.database, view.filter, page.reviewer)
    return page.render(
        "bulk.html",
        current="bulk",
        view=view,
        rows=rows,
        cursor=cursor,
        count=now.left,
        progress=now,
        choices=filter_choices(page, view),
        covered=lambda row: covers(page, row.top_score, row.safety),
    )


@router.post("/bulk/confirm", response_model=None)
def confirm(page: CurrentPage, view: CurrentView, form: CurrentForm) -> Response:
    """How many outputs it would decide, before anything is stored."""
    return _confirm(page, view, Choice.of(form))


@router.post("/bulk/decisions", response_model=None)
def decide(page: CurrentPage, view: CurrentView, form: CurrentForm) -> Response:
    """Decides the selection, once."""
    choice = Choice.of(form)
    reason, key = form.one("reason").strip() or None, form.one("key") or _drawn_key()
    if choice.versions is not None:
        done = decide_many(page.database, list(choice.versions), page.reviewer, choice.action, reason=reason,
                           expected=choice.versions, key=key)  # fmt: skip
        return _result(page, view, choice.action, done, key)
    done = decide_matching(page.database, view.filter, page.reviewer, choice.action, seen=unpacked(form.one("counted")),
                           reason=reason, key=key)  # fmt: skip
    return _result(page, view, choice.action, done, key)


@router.post("/bulk/undo", response_model=None)
def undo(page: CurrentPage, view: CurrentView, form: CurrentForm) -> Response:
    """Undoes a bulk decision."""
    key = form.one("key") or _drawn_key()
    return _result(page, view, Action.UNDO, undo_many(page.database, form.one("of"), page.reviewer, key=key), key)


def _drawn_key() -> str:
    """An idempotency key for a bulk decision: submitted twice, it is still one decision."""
    return secrets.token_urlsafe(16)


def _confirm(page: Page, view: View, choice: Choice) -> Response:
    versions = dict(matching_versions(page.database, view.filter)) if choice.versions is None else choice.versions
    return page.render(
        "confirm.html",
        current="bulk",
        view=view,
        choice=choice,
        number=len(versions),
        counted=packed(versions) if choice.versions is None else "",
        key=_drawn_key(),
    )


def _result(page: Page, view: View, action: Action, done: BulkResult, key: str) -> Response:
    why = Counter(skipped.why for skipped in done.skipped)
    values: dict[str, Any] = {
        "action": action,
        "done": done,
        "why": why.most_common(REASONS_SHOWN),
        "of": key,
        "key": _drawn_key(),
    }
    return page.render("bulk_done.html", current="bulk", view=view, **values)
