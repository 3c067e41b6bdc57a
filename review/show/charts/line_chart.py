"""Line charts along an axis, each curve with its confidence band; of shares, unless another scale is named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from review.show.charts.svg import (
    LEFT,
    PLOT_HEIGHT,
    PLOT_WIDTH,
    TOP,
    axis_names,
    chart,
    element,
    horizontal_grid,
    horizontal_ticks,
    text,
    threshold,
)
from review.stats.intervals import Estimate

NAME_HEIGHT = 14.0

Point = tuple[float, Estimate | None]  # position from 0 to 1, and the estimate there
Tick = tuple[float, str]  # position from 0 to 1, and its label


@dataclass(frozen=True, slots=True)
class Curve:
    """One line."""

    title: str
    css_class: str
    points: Sequence[Point]
    square: bool = False  # its points, which else are round
    dots: bool = True  # each point is marked


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChart:
    """A line chart over axes from 0 to 1, whose ticks say what that stands for."""

    name: str
    title: str
    description: str
    axis: str
    curves: Sequence[Curve]
    mark: tuple[float, str] | None = None
    vertical: str = "share of texts"
    heights: Sequence[Tick] = tuple((step / 4, f"{step * 25} %") for step in range(5))
    places: Sequence[Tick] = tuple((place / 5, f"{place / 5:.1f}") for place in range(6))

    def svg(self) -> Markup:
        return chart(
            self.title,
            self.description,
            horizontal_grid(list(self.heights)),
            *(_band(stretch, curve.css_class) for curve in self.curves for stretch in _stretches(curve.points)),
            *(_line(stretch, curve) for curve in self.curves for stretch in _stretches(curve.points)),
            horizontal_ticks(self.places),
            *([threshold(*self.mark)] if self.mark else []),
            _names(self.curves),
            axis_names(self.axis, self.vertical),
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


def _line(stretch: Sequence[tuple[float, Estimate]], curve: Curve) -> Markup:
    marked = stretch if curve.dots else []
    dots = [_dot(_x(place), _y(estimate.value), curve) for place, estimate in marked]
    points = _points([(place, estimate.value) for place, estimate in stretch])
    return Markup("").join([element("polyline", points=points, class_=f"line {curve.css_class}"), *dots])


def _dot(x: float, y: float, curve: Curve) -> Markup:
    kind = f"dot {curve.css_class}"
    if curve.square:
        return element("rect", x=x - 2.5, y=y - 2.5, width=5.0, height=5.0, class_=kind)
    return element("circle", cx=x, cy=y, r=2.5, class_=kind)


def _names(curves: Sequence[Curve]) -> Markup:
    """Each curve's name at its last point, one under the other where they end close together."""
    ends = []
    for curve in curves:
        known = [(place, estimate) for place, estimate in curve.points if estimate is not None]
        if known:
            ends.append((_y(known[-1][1].value) - 6, _x(known[-1][0]), curve))
    parts, free = [], TOP + NAME_HEIGHT
    for number, (y, x, curve) in enumerate(sorted(ends, key=lambda end: end[0])):
        lowest = TOP + PLOT_HEIGHT - 4 - NAME_HEIGHT * (len(ends) - 1 - number)
        y = min(max(y, free), lowest)
        free = y + NAME_HEIGHT
        parts.append(
            text(x, y, curve.title, anchor="end" if x > LEFT + PLOT_WIDTH / 2 else "start", class_="curve-name")
        )
    return Markup("").join(parts)
