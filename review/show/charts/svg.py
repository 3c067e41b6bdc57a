"""SVG as markup: escaped elements from names and attributes, and the scales that charts share.

Colours and type come from `static/charts.css`, by class; only geometry is set here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup, escape

# In SVG units, about a pixel each: the chart shrinks a little on a phone, and type stays readable, as it would not in a
# wider one.
WIDTH, HEIGHT = 340, 214
LEFT, RIGHT, TOP, BOTTOM = 42, 8, 34, 36
PLOT_WIDTH, PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
CHARACTER, GAP = 6.8, 6.0
"""The width of a digit as charts write them, and what stays free between two labels."""


def element(name: str, *children: str, **attributes: object) -> Markup:
    """One element. `class_` is class, and an underscore elsewhere is a hyphen; None leaves an attribute out."""
    attributes_text = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_rounded(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    content = Markup("").join(children)
    return Markup(f"<{name}{attributes_text}>{content}</{name}>")  # noqa: S704 - each part of it is escaped


def _rounded(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


def chart(title: str, description: str, *children: str, name: str, linked: bool = False) -> Markup:
    """A whole chart, with a title and a description for screen readers.

    Args:
        name: unique on the page.
        linked: it contains links, and so cannot be a single image to a screen reader.
    """
    title_element = element("title", escape(title), id=f"{name}-title")
    description_element = element("desc", escape(description), id=f"{name}-desc")
    return element(
        "svg", title_element, description_element, *children,
        class_="chart", viewBox=f"0 0 {WIDTH} {HEIGHT}", role="group" if linked else "img",
        aria_labelledby=f"{name}-title", aria_describedby=f"{name}-desc",
    )  # fmt: skip


def text(x: float, y: float, content: str, *, anchor: str = "middle", class_: str = "tick") -> Markup:
    return element("text", escape(content), x=float(x), y=float(y), text_anchor=anchor, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return element("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


def horizontal_grid(ticks: list[tuple[float, str]]) -> Markup:
    """Horizontal grid lines with their labels on the left.

    Args:
        ticks: height in the plot, 0 to 1, and its label.
    """
    parts = []
    for height, label in ticks:
        y = TOP + PLOT_HEIGHT * (1 - height)
        parts += [line(LEFT, y, WIDTH - RIGHT, y, "grid"), text(LEFT - 6, y + 3.5, label, anchor="end")]
    return Markup("").join(parts)


def horizontal_ticks(ticks: Sequence[tuple[float, str]]) -> Markup:
    """Labels under the plot, of every so-manieth tick: so many that none touches another or leaves the chart.

    Args:
        ticks: position from 0 to 1, and the label there.
    """
    shown = next((some for step in range(1, len(ticks) + 1) if _have_room(some := ticks[::step])), ())
    parts = []
    for place, label in shown:
        x, y = LEFT + place * PLOT_WIDTH, TOP + PLOT_HEIGHT
        parts += [line(x, y, x, y + 3, "axis"), text(_label_x(place, label), y + 15, label)]
    return Markup("").join(parts)


def _have_room(ticks: Sequence[tuple[float, str]]) -> bool:
    """Whether neighbouring labels leave a gap; a single one always has room."""
    centres = [(_label_x(place, label), len(label) * CHARACTER / 2) for place, label in ticks]
    return all(x + half + GAP <= next_x - next_half for (x, half), (next_x, next_half) in pairwise(centres))


def _label_x(place: float, label: str) -> float:
    half = len(label) * CHARACTER / 2
    return max(min(LEFT + place * PLOT_WIDTH, WIDTH - half), half)


def axis_names(horizontal: str, vertical: str) -> Markup:
    """The names of both axes: under the one, over the other."""
    return Markup("").join(
        [
            text(LEFT + PLOT_WIDTH / 2, HEIGHT - 4, _fitting(horizontal), class_="axis-name"),
            text(2, 12, _fitting(vertical), anchor="start", class_="axis-name"),
        ]
    )


def _fitting(name: str) -> str:
    most = int(WIDTH / (CHARACTER + 0.5))
    return name if len(name) <= most else name[: most - 1] + "…"


def threshold(place: float, label: str) -> Markup:
    """A dashed line at a position from 0 to 1, with its label over the plot, where nothing else is."""
    x = LEFT + place * PLOT_WIDTH
    mark = line(x, TOP - 4, x, TOP + PLOT_HEIGHT, "threshold")
    return mark + text(x, TOP - 7, label, anchor="start" if place < 0.6 else "end", class_="threshold-name")


def nice_step(largest: float, steps: int) -> float:
    """The smallest of 1, 2 or 5 times a power of ten that covers `largest` in at most so many steps."""
    raw = max(largest, 1e-9) / steps
    power: float = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))


def axis_number(value: float) -> str:
    """A number for an axis: 950, 1.5k, 20k, 3M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
