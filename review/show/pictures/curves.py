"""Line charts of shares along an axis, each with its confidence band."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from review.show.pictures.svg import (
    LEFT,
    PLOT_HEIGHT,
    PLOT_WIDTH,
    TOP,
    axis_name,
    drawing,
    element,
    line,
    rows_of_grid,
    text,
)
from review.stats.intervals import Estimate

Point = tuple[float, Estimate | None]  # position from 0 to 1, and the estimate there


@dataclass(frozen=True, slots=True)
class Curve:
    """One line."""

    title: str
    kind: str  # its CSS class
    points: Sequence[Point]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """A line chart over an axis from 0 to 1."""

    name: str
    title: str
    description: str
    axis: str
    curves: Sequence[Curve]
    mark: tuple[float, str] | None = None

    def svg(self) -> Markup:
        ticks = [(step / 4, f"{step * 25} %") for step in range(5)]
        return drawing(
            self.title,
            self.description,
            rows_of_grid(ticks),
            *(_band(run, curve.kind) for curve in self.curves for run in _runs(curve.points)),
            *(_line(run, curve.kind) for curve in self.curves for run in _runs(curve.points)),
            *(text(_x(place), TOP + PLOT_HEIGHT + 13, f"{place:.1f}") for place in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
            *([line(_x(self.mark[0]), TOP - 4, _x(self.mark[0]), TOP + PLOT_HEIGHT, "threshold")] if self.mark else []),
            axis_name(self.axis),
            name=self.name,
        )


def _runs(points: Sequence[Point]) -> Iterator[list[tuple[float, Estimate]]]:
    """The stretches that have an estimate."""
    run: list[tuple[float, Estimate]] = []
    for place, known in points:
        if known is not None:
            run.append((place, known))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _x(place: float) -> float:
    return LEFT + place * PLOT_WIDTH


def _y(share: float) -> float:
    return TOP + PLOT_HEIGHT * (1 - share)


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_x(place):.1f},{_y(share):.1f}" for place, share in places)


def _band(run: Sequence[tuple[float, Estimate]], kind: str) -> Markup:
    upper = [(place, known.high) for place, known in run]
    lower = [(place, known.low) for place, known in reversed(run)]
    return element("polygon", points=_points([*upper, *lower]), class_=f"band {kind}")


def _line(run: Sequence[tuple[float, Estimate]], kind: str) -> Markup:
    dots = [element("circle", cx=_x(p), cy=_y(known.value), r=2.0, class_=f"dot {kind}") for p, known in run]
    drawn = element("polyline", points=_points([(p, known.value) for p, known in run]), class_=f"line {kind}")
    return Markup("").join([drawn, *dots])
