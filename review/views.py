"""A view: which outputs a page shows and in which order, as query parameters.

The same parameters on every page, so that a view can be sent to a colleague.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Path, Request

from contract.errors import UsageError
from contract.review import Filter, Order, StateFilter
from review.security.form import LONGEST_QUERY, Form, fields, whole

OutputId = Annotated[int, Path(ge=1, le=2**62)]
"""The number of an output in an address, up to what a database can hold."""

T = TypeVar("T", StateFilter, Order)

NAMES = ("state", "job", "model", "label", "low", "high", "reason", "reviewer", "q", "order")
DEFAULTS = {"state": StateFilter.PENDING.value, "order": Order.SCORE.value}


@dataclass(frozen=True, slots=True)
class View:
    """A filter and the query parameters it was read from."""

    filter: Filter
    said: tuple[tuple[str, str], ...]  # what differs from the default, in the order of NAMES

    @property
    def query(self) -> str:
        """The view as a query string, without the question mark."""
        return urlencode(self.said)

    @property
    def values(self) -> dict[str, str]:
        """Every parameter by its name; empty where the view does not set it."""
        return dict.fromkeys(NAMES, "") | dict(self.said)

    def address(self, path: str, **more: object) -> str:
        """A page's address with this view and more parameters; None leaves one out."""
        said = dict(self.said) | {name: str(value) for name, value in more.items() if value is not None}
        for name, value in more.items():
            if value is None:
                said.pop(name, None)
        return f"{path}?{urlencode(said)}" if said else path

    def without(self, *names: str) -> str:
        """The view's query string without some parameters."""
        return urlencode([(name, value) for name, value in self.said if name not in names])

    @property
    def narrowed(self) -> tuple[tuple[str, str], ...]:
        """The filters in use, which a reader can remove one by one."""
        return tuple((name, value) for name, value in self.said if name != "order")


def read_view(parameters: Mapping[str, str]) -> View:
    """A view from query parameters; empty and unknown ones count as absent.

    Raises:
        UsageError: naming the parameter that cannot be used.
    """
    given = {name: value for name in NAMES if (value := parameters.get(name, "").strip())}
    if "label" not in given:  # a form sends every field: a range without a label means nothing
        given.pop("low", None), given.pop("high", None)
        if given.get("order") == Order.LABEL:
            del given["order"]
    return View(_filter(given), tuple((name, value) for name, value in given.items() if DEFAULTS.get(name) != value))


def _filter(given: Mapping[str, str]) -> Filter:
    return Filter(
        job=whole(given["job"], "job") if "job" in given else None,
        model=given.get("model"),
        label=given.get("label"),
        low=_number(given, "low"),
        high=_number(given, "high"),
        reason=given.get("reason"),
        state=_choice(given, "state", StateFilter, StateFilter.PENDING),
        reviewer=given.get("reviewer"),
        query=given.get("q"),
        order=_choice(given, "order", Order, Order.SCORE),
    )


def _number(given: Mapping[str, str], name: str) -> float | None:
    if name not in given:
        return None
    try:
        return float(given[name].replace(",", "."))
    except ValueError:
        raise UsageError(f"{name}: {given[name][:40]!r} is not a number from 0 to 1") from None


def _choice(given: Mapping[str, str], name: str, kind: type[T], default: T) -> T:
    try:
        return kind(given[name]) if name in given else default
    except ValueError:
        known = ", ".join(kind)
        raise UsageError(f"{name}: {given[name][:40]!r} is not one of {known}") from None


def current_view(request: Request) -> View:
    """The view in a page's address, or in the `view` field of a form."""
    form: Form = request.state.form
    carried = form.one("view")
    if len(carried) > LONGEST_QUERY:
        raise UsageError(f"view: has {len(carried):,} characters; at most {LONGEST_QUERY:,} can be read")
    return read_view(dict(fields(carried)) if carried else request.query_params)


CurrentView = Annotated[View, Depends(current_view)]
