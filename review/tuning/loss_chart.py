"""The curves of a tuning, training loss and validation loss by step, as a chart and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from markupsafe import Markup

from db.tuning.progress import Point
from review.show.charts.line_chart import Curve, LineChart
from review.show.charts.svg import axis_number, nice_step
from review.stats.intervals import Estimate

SMOOTHED_OVER = 20
"""The training loss of single steps jumps: each point shown is the mean of so many parts of the curve at most."""
GRID_LINES, STEP_TICKS = 5, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LossChart:
    """The chart, and each evaluation with the training loss up to then."""

    svg: Markup
    rows: tuple[tuple[int, float | None, float | None], ...]  # step, training loss, validation loss


def loss_chart(train: Sequence[Point], validation: Sequence[Point], *, steps: int) -> LossChart:
    """At least one of the curves has a point.

    Args:
        steps: how many there will be; 0 = not known.
    """
    training, validating = _losses(train), _losses(validation)
    last = max(steps, *(step for step, _ in [*training, *validating]), 1)
    shown = _smoothed(training)
    low, high, ticks = _scale([loss for _, loss in [*shown, *validating]])

    def curve(title: str, css_class: str, points: Sequence[tuple[int, float]], **look: bool) -> Curve:
        places = [(step / last, Estimate(*[(loss - low) / (high - low)] * 3)) for step, loss in points]
        return Curve(title, css_class, places, **look)

    chart = LineChart(
        name="loss",
        title="Loss by step",
        description=_described(training, validating),
        axis="step",
        vertical="loss",
        heights=[((tick - low) / (high - low), f"{tick:.3g}") for tick in ticks],
        places=[(place / STEP_TICKS, axis_number(last * place / STEP_TICKS)) for place in range(STEP_TICKS + 1)],
        curves=[
            curve("training", "precision", shown, dots=False),
            curve("validation", "recall", validating, square=True),
        ],
    )
    return LossChart(svg=chart.svg(), rows=_rows(training, validating))


def _losses(points: Sequence[Point]) -> list[tuple[int, float]]:
    return [(point.step, float(point.values["loss"])) for point in points if point.values.get("loss") is not None]


def _smoothed(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Each point as the mean of those around it."""
    reach = len(points) // (2 * SMOOTHED_OVER)
    means = []
    for place, (step, _) in enumerate(points):
        near = [loss for _, loss in points[max(place - reach, 0) : place + reach + 1]]
        means.append((step, sum(near) / len(near)))
    return means


def _scale(losses: Sequence[float]) -> tuple[float, float, list[float]]:
    """The lowest and the highest loss of the chart, and where its grid lines are."""
    low, high = min(losses), max(losses)
    gap = nice_step(max(high - low, 0.01), GRID_LINES)
    first = int(low // gap)
    ticks = [gap * (first + line) for line in range(GRID_LINES + 3)]
    shown = [*takewhile(lambda tick: tick < high, ticks)]
    shown.append(ticks[len(shown)])
    return shown[0], shown[-1], shown


def _rows(
    training: Sequence[tuple[int, float]], validating: Sequence[tuple[int, float]]
) -> tuple[tuple[int, float | None, float | None], ...]:
    """Each evaluation, or without any each tenth of the training loss."""
    if not validating:
        return tuple((step, loss, None) for step, loss in training[:: max(len(training) // 10, 1)])
    return tuple((step, _latest(training, step), loss) for step, loss in validating)


def _latest(points: Sequence[tuple[int, float]], step: int) -> float | None:
    before = [loss for at, loss in points if at <= step]
    return before[-1] if before else None


def _described(training: Sequence[tuple[int, float]], validating: Sequence[tuple[int, float]]) -> str:
    said = [
        f"{name} loss from {points[0][1]:.3f} at step {points[0][0]:,} to {points[-1][1]:.3f} at step {points[-1][0]:,}"
        for name, points in (("training", training), ("validation", validating))
        if points
    ]
    return "; ".join(said).capitalize() + "."
