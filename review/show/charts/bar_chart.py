"""Bar charts: histograms and time series."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from review.show.charts.svg import (
    LEFT,
    PLOT_HEIGHT,
    PLOT_WIDTH,
    TOP,
    axis_name,
    axis_number,
    chart,
    element,
    horizontal_grid,
    line,
    nice_step,
    text,
)

Scale = tuple[Callable[[float], float], list[tuple[float, str]]]
"""From a value to its height in the plot, 0 to 1; and the grid lines' heights with their labels."""
MIN_HEIGHT = 1.5
"""A bar over 0 is always visible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar."""

    value: float
    tooltip: str
    link: str | None = None
    over_threshold: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BarChart:
    """A bar chart."""

    name: str  # unique on the page
    title: str
    description: str
    bars: Sequence[Bar]
    axis: str
    ticks: Sequence[tuple[float, str]]  # position from 0 to 1, and the label there
    logarithmic: bool = False
    mark: tuple[float, str] | None = None  # a position, and its label

    def svg(self) -> Markup:
        largest = max((bar.value for bar in self.bars), default=0.0)
        heights, grid = self._logarithmic(largest) if self.logarithmic else self._linear(largest)
        return chart(
            self.title,
            self.description,
            horizontal_grid(grid),
            *(self._bar(number, bar, heights(bar.value)) for number, bar in enumerate(self.bars)),
            line(LEFT, TOP + PLOT_HEIGHT, LEFT + PLOT_WIDTH, TOP + PLOT_HEIGHT, "axis"),
            *(_tick(place, label) for place, label in self.ticks),
            *([_mark(*self.mark)] if self.mark else []),
            axis_name(self.axis),
            name=self.name,
            linked=any(bar.link for bar in self.bars),
        )

    def _bar(self, number: int, bar: Bar, height: float) -> Markup:
        slot = PLOT_WIDTH / len(self.bars)
        gap = min(1.0, slot / 6)
        bar_height = max(height * PLOT_HEIGHT, MIN_HEIGHT) if bar.value > 0 else 0.0
        x = LEFT + number * slot
        rectangle = element(
            "rect", x=x + gap / 2, y=TOP + PLOT_HEIGHT - bar_height, width=slot - gap, height=bar_height,
            class_="bar over" if bar.over_threshold else "bar",
        )  # fmt: skip
        # The whole column reacts to the pointer: a bar of one text is a pixel and a half.
        column = element("rect", x=x, y=float(TOP), width=slot, height=float(PLOT_HEIGHT), class_="column")
        title = element("title", Markup.escape(bar.tooltip))
        if not bar.link or bar.value <= 0:
            return element("g", title, rectangle, column, class_="bar-column")
        # Out of the tab order: the table below has the same links, and charts have hundreds of bars.
        return element(
            "a", title, rectangle, column, href=bar.link, class_="bar-column", tabindex="-1", aria_label=bar.tooltip
        )

    def _linear(self, largest: float) -> Scale:
        step = nice_step(largest, 4) if largest > 0 else 1.0
        top = step * max(math.ceil(largest / step - 1e-9), 1)
        return (lambda value: value / top), [
            (i * step / top, axis_number(i * step)) for i in range(round(top / step) + 1)
        ]

    def _logarithmic(self, largest: float) -> Scale:
        # Of 1 + value, so that 0 is at the bottom and one text is above it.
        top = math.log10(1 + max(largest, 9))
        powers = [10**i for i in range(int(top) + 1)]
        step = max(1, math.ceil(len(powers) / 4))
        ticks = [(math.log10(1 + power) / top, axis_number(power)) for power in powers[::-step]]
        return (lambda value: math.log10(1 + value) / top), ticks


def _tick(place: float, label: str) -> Markup:
    return text(LEFT + place * PLOT_WIDTH, TOP + PLOT_HEIGHT + 13, label)


def _mark(place: float, label: str) -> Markup:
    x = LEFT + place * PLOT_WIDTH
    anchor, offset = ("start", 4) if place < 0.6 else ("end", -4)
    return Markup("").join(
        [
            line(x, TOP - 4, x, TOP + PLOT_HEIGHT, "threshold"),
            text(x + offset, TOP + 5, label, anchor=anchor, class_="threshold-name"),
        ]
    )
