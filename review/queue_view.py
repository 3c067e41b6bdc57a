"""A queue view: which outputs a page shows and in which order, as query parameters.

The same parameters on every page, so that a view can be sent to a colleague.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Path, Request

from contract.errors import UsageError
from contract.review import Filter, Order, StateFilter
from db.search import read_query
from review.security.form import LONGEST_QUERY, Form, fields, whole_number

OutputId = Annotated[int, Path(ge=1, le=2**62)]
"""The number of an output in an address, up to what a database can hold."""

T = TypeVar("T", StateFilter, Order)

PARAMETERS = ("state", "job", "model", "label", "low", "high", "reason", "reviewer", "q", "order")
PARAMETER_OF = {"query": "q"}
"""Parameters that have another name in the filter."""
DEFAULTS = {"state": StateFilter.PENDING.value, "order": Order.SCORE.value}


@dataclass(frozen=True, slots=True)
class QueueView:
    """A filter and the query parameters it was read from."""

    filter: Filter
    parameters: tuple[tuple[str, str], ...]  # what differs from the default, in the order of PARAMETERS
    problems: tuple[str, ...] = ()  # of parameters that could not be used, and were left out

    @property
    def query(self) -> str:
        """The view as a query string, without the question mark."""
        return urlencode(self.parameters)

    @property
    def values(self) -> dict[str, str]:
        """Every parameter by its name; empty where the view does not set it."""
        return dict.fromkeys(PARAMETERS, "") | dict(self.parameters)

    def address(self, path: str, **more: object) -> str:
        """A page's address with this view and more parameters; None leaves one out."""
        parameters = dict(self.parameters) | {name: str(value) for name, value in more.items() if value is not None}
        for name, value in more.items():
            if value is None:
                parameters.pop(name, None)
        return f"{path}?{urlencode(parameters)}" if parameters else path

    def without(self, *names: str) -> str:
        """The view's query string without some parameters."""
        return urlencode([(name, value) for name, value in self.parameters if name not in names])

    @property
    def narrowed(self) -> tuple[tuple[str, str], ...]:
        """The filters in use, which a reviewer can remove one by one."""
        return tuple((name, value) for name, value in self.parameters if name != "order")


def read_view(parameters: Mapping[str, str]) -> QueueView:
    """A view from query parameters; empty, unknown and ineffective ones count as absent.

    Raises:
        UsageError: naming the parameter that cannot be used.
    """
    values = {name: value for name in PARAMETERS if (value := parameters.get(name, "").strip())}
    if "label" not in values:  # a form sends every field: a range without a label means nothing
        values.pop("low", None), values.pop("high", None)
        if values.get("order") == Order.LABEL:
            del values["order"]
    wanted = _filter(values)
    if wanted.order not in wanted.orders:
        values.pop("order", None)
        wanted = replace(wanted, order=wanted.orders[0])
    kept = tuple((name, value) for name, value in values.items() if DEFAULTS.get(name) != value)
    return QueueView(wanted, kept)


def read_what_can_be(parameters: Mapping[str, str]) -> QueueView:
    """A view as `read_view` reads it, without the parameters that cannot be used: what was wrong is in `problems`."""
    values = dict(parameters)
    problems: list[str] = []
    while True:
        try:
            view = read_view(values)
            if view.filter.query:
                read_query(view.filter.query)
            return replace(view, problems=tuple(problems))
        except UsageError as error:
            name = str(error).partition(":")[0]
            if values.pop(name if name in values else PARAMETER_OF.get(name, ""), None) is None:
                raise
            problems.append(str(error))


def _filter(values: Mapping[str, str]) -> Filter:
    return Filter(
        job=whole_number(values["job"], "job") if "job" in values else None,
        model=values.get("model"),
        label=values.get("label"),
        low=_number(values, "low"),
        high=_number(values, "high"),
        reason=values.get("reason"),
        state=_choice(values, "state", StateFilter, StateFilter.PENDING),
        reviewer=values.get("reviewer"),
        query=values.get("q"),
        order=_choice(values, "order", Order, Order.SCORE),
    )


def _number(values: Mapping[str, str], name: str) -> float | None:
    if name not in values:
        return None
    try:
        return float(values[name].replace(",", "."))
    except ValueError:
        raise UsageError(f"{name}: {values[name][:40]!r} is not a number from 0 to 1") from None


def _choice(values: Mapping[str, str], name: str, kind: type[T], default: T) -> T:
    try:
        return kind(values[name]) if name in values else default
    except ValueError:
        raise UsageError(f"{name}: {values[name][:40]!r} is not one of {', '.join(kind)}") from None


def current_view(request: Request) -> QueueView:
    """The view in a page's address, or in the `view` field of a form."""
    form: Form = request.state.form
    encoded = form.one("view")
    if len(encoded) > LONGEST_QUERY:
        raise UsageError(f"view: has {len(encoded):,} characters; at most {LONGEST_QUERY:,} can be read")
    return read_view(dict(fields(encoded)) if encoded else request.query_params)


CurrentView = Annotated[QueueView, Depends(current_view)]


def shown_view(request: Request) -> QueueView:
    """The view in the address of a page that is only looked at: what cannot be used of it is said there."""
    return read_what_can_be(request.query_params)


ShownView = Annotated[QueueView, Depends(shown_view)]
