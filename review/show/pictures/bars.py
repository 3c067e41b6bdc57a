"""Bar charts: histograms and time series."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
    nice_step,
    rows_of_grid,
    short,
    text,
)

Scale = tuple[Callable[[float], float], list[tuple[float, str]]]
"""From a value to its height in the plot, 0 to 1; and the grid lines' heights with their labels."""
LEAST_HEIGHT = 1.5
"""A bar over 0 is always visible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar."""

    value: float
    says: str  # its tooltip
    link: str | None = None
    over: bool = False  # beyond the threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
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
        most = max((bar.value for bar in self.bars), default=0.0)
        heights, grid = self._logarithmic(most) if self.logarithmic else self._linear(most)
        return drawing(
            self.title,
            self.description,
            rows_of_grid(grid),
            *(self._bar(number, bar, heights(bar.value)) for number, bar in enumerate(self.bars)),
            line(LEFT, TOP + PLOT_HEIGHT, LEFT + PLOT_WIDTH, TOP + PLOT_HEIGHT, "axis"),
            *(_tick(place, words) for place, words in self.ticks),
            *([_mark(*self.mark)] if self.mark else []),
            axis_name(self.axis),
            name=self.name,
            linked=any(bar.link for bar in self.bars),
        )

    def _bar(self, number: int, bar: Bar, height: float) -> Markup:
        slot = PLOT_WIDTH / len(self.bars)
        gap = min(1.0, slot / 6)
        tall = max(height * PLOT_HEIGHT, LEAST_HEIGHT) if bar.value > 0 else 0.0
        x = LEFT + number * slot
        shown = element(
            "rect", x=x + gap / 2, y=TOP + PLOT_HEIGHT - tall, width=slot - gap, height=tall,
            class_="bar over" if bar.over else "bar",
        )  # fmt: skip
        # The whole column reacts to the pointer: a bar of one text is a pixel and a half.
        column = element("rect", x=x, y=float(TOP), width=slot, height=float(PLOT_HEIGHT), class_="column")
        says = element("title", Markup.escape(bar.says))
        if not bar.link or bar.value <= 0:
            return element("g", says, shown, column, class_="bar-column")
        # Out of the tab order: the table below has the same links, and charts have hundreds of bars.
        return element("a", says, shown, column, href=bar.link, class_="bar-column", tabindex="-1", aria_label=bar.says)

    def _linear(self, most: float) -> Scale:
        step = nice_step(most, 4) if most > 0 else 1.0
        top = step * max(math.ceil(most / step - 1e-9), 1)
        return (lambda value: value / top), [(i * step / top, short(i * step)) for i in range(round(top / step) + 1)]

    def _logarithmic(self, most: float) -> Scale:
        # Of 1 + value, so that 0 is at the bottom and one text is above it.
        top = math.log10(1 + max(most, 9))
        powers = [10**i for i in range(int(top) + 1)]
        step = max(1, math.ceil(len(powers) / 4))
        ticks = [(math.log10(1 + power) / top, short(power)) for power in powers[::-step]]
        return (lambda value: math.log10(1 + value) / top), ticks


def _tick(place: float, words: str) -> Markup:
    return text(LEFT + place * PLOT_WIDTH, TOP + PLOT_HEIGHT + 13, words)


def _mark(place: float, words: str) -> Markup:
    x = LEFT + place * PLOT_WIDTH
    anchor, beside = ("start", 4) if place < 0.6 else ("end", -4)
    return Markup("").join(
        [
            line(x, TOP - 4, x, TOP + PLOT_HEIGHT, "threshold"),
            text(x + beside, TOP + 5, words, anchor=anchor, class_="threshold-name"),
        ]
    )
