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
    axis_names,
    axis_number,
    chart,
    element,
    horizontal_grid,
    horizontal_ticks,
    line,
    nice_step,
    threshold,
)

Scale = tuple[Callable[[float], float], list[tuple[float, str]]]
"""From a value to its height in the plot, 0 to 1; and the grid lines' heights with their labels."""
HATCHING = 5
"""Between two lines across a bar."""
LEAST_SCALE = 0.004
"""The least that a linear scale ends at: numbers under a thousandth have no room beside it."""
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
    axis: str  # what lies along it
    value_axis: str  # what the bars' heights are
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
            horizontal_ticks(self.ticks),
            *([threshold(*self.mark)] if self.mark else []),
            axis_names(self.axis, self.value_axis),
            name=self.name,
            linked=any(bar.link for bar in self.bars),
        )

    def _bar(self, number: int, bar: Bar, height: float) -> Markup:
        slot = PLOT_WIDTH / len(self.bars)
        gap = min(1.0, slot / 6)
        bar_height = max(height * PLOT_HEIGHT, MIN_HEIGHT) if bar.value > 0 else 0.0
        x = LEFT + number * slot
        form = {"x": x + gap / 2, "y": TOP + PLOT_HEIGHT - bar_height, "width": slot - gap, "height": bar_height}
        rectangle = element("rect", **form, class_="bar over" if bar.over_threshold else "bar")
        if bar.over_threshold:
            rectangle += _hatching(**form)
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
        step = nice_step(max(largest, LEAST_SCALE), 4) if largest > 0 else 1.0
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


def _hatching(x: float, y: float, width: float, height: float) -> Markup:
    """Lines across a bar that is over a threshold, for who does not tell the colours apart."""
    heights = [y + height - up for up in range(HATCHING // 2 + 1, int(height) + 1, HATCHING)]
    path = "".join(f"M{x:.1f} {at:.1f}h{width:.1f}" for at in heights)
    return element("path", d=path, class_="hatching") if path else Markup("")
