"""Line charts of shares along an axis, each with its confidence band."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from review.show.charts.svg import (
    LEFT,
    PLOT_HEIGHT,
    PLOT_WIDTH,
    TOP,
    axis_name,
    chart,
    element,
    horizontal_grid,
    line,
    text,
)
from review.stats.intervals import Estimate

Point = tuple[float, Estimate | None]  # position from 0 to 1, and the estimate there


@dataclass(frozen=True, slots=True)
class Curve:
    """One line."""

    title: str
    css_class: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChart:
    """A line chart over an axis from 0 to 1."""

    name: str
    title: str
    description: str
    axis: str
    curves: Sequence[Curve]
    mark: tuple[float, str] | None = None

    def svg(self) -> Markup:
        ticks = [(step / 4, f"{step * 25} %") for step in range(5)]
        return chart(
            self.title,
            self.description,
            horizontal_grid(ticks),
            *(_band(stretch, curve.css_class) for curve in self.curves for stretch in _stretches(curve.points)),
            *(_line(stretch, curve.css_class) for curve in self.curves for stretch in _stretches(curve.points)),
            *(text(_x(place), TOP + PLOT_HEIGHT + 13, f"{place:.1f}") for place in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
            *([line(_x(self.mark[0]), TOP - 4, _x(self.mark[0]), TOP + PLOT_HEIGHT, "threshold")] if self.mark else []),
            axis_name(self.axis),
            name=self.name,
        )


def _stretches(points: Sequence[Point]) -> Iterator[list[tuple[float, Estimate]]]:
    """The stretches that have an estimate."""
    stretch: list[tuple[float, Estimate]] = []
    for place, estimate in points:
        if estimate is not None:
            stretch.append((place, estimate))
        elif stretch:
            yield stretch
            stretch = []
    if stretch:
        yield stretch


def _x(place: float) -> float:
    return LEFT + place * PLOT_WIDTH


def _y(share: float) -> float:
    return TOP + PLOT_HEIGHT * (1 - share)


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_x(place):.1f},{_y(share):.1f}" for place, share in places)


def _band(stretch: Sequence[tuple[float, Estimate]], kind: str) -> Markup:
    upper = [(place, estimate.high) for place, estimate in stretch]
    lower = [(place, estimate.low) for place, estimate in reversed(stretch)]
    return element("polygon", points=_points([*upper, *lower]), class_=f"band {kind}")


def _line(stretch: Sequence[tuple[float, Estimate]], kind: str) -> Markup:
    dots = [element("circle", cx=_x(x), cy=_y(estimate.value), r=2.0, class_=f"dot {kind}") for x, estimate in stretch]
    polyline = element(
        "polyline", points=_points([(x, estimate.value) for x, estimate in stretch]), class_=f"line {kind}"
    )
    return Markup("").join([polyline, *dots])
