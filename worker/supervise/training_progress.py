"""What a training process says, as figures for people and points of curves. Pure: no SQL, no processes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from db.tuning.progress import SAMPLES, TRAIN, VALIDATION, Point
from worker.supervise.training_process import Event

CURVE_POINTS = 500
"""A curve of the training loss has about this many points at most, however many steps there are."""
SHOWN = ("step", "steps", "epoch", "loss", "tokens_per_second", "learning_rate")
KEPT_NOTES = 50
PACE_STEPS = 256
MIN_PACE_STEPS = 4
MIN_ERROR = 0.1
"""Relative: no range of the time left is narrower, each way."""


class TrainingProgress:
    """The newest figures of one tuning, and the points that are yet to be saved."""

    def __init__(self, before: Mapping[str, Any] | None = None) -> None:
        """
        Args:
            before: the figures of an earlier worker, on which this one goes on.
        """
        self._figures: dict[str, Any] = dict(before or {}) | {"left": None}
        self._points: dict[tuple[str, int], Point] = {}
        self._pace = StepPace()
        self._changed = False
        self.error: Event | None = None  # why it ends, in its own words
        self.device: str | None = None  # the kind of device that it is bound to by now, until that is saved

    def hear(self, event: Event) -> None:
        """Takes note of an event; one that this version does not know is a sign of life, and no more."""
        hear = {
            "train": self._train, "validation": self._validation, "samples": self._samples, "note": self._note,
            "settled": self._settled,
        }  # fmt: skip
        if event["kind"] == "error":
            self.error = event
        elif event["kind"] in hear:
            hear[event["kind"]](event)
            self._changed = True

    def _settled(self, event: Event) -> None:
        self.device = str(event["device"])

    def _train(self, event: Event) -> None:
        self._figures |= {name: event[name] for name in SHOWN if name in event}
        step, steps = int(event["step"]), int(event.get("steps") or 0)
        self._pace.step(step)
        self._figures["left"] = self._pace.left(steps)
        stride = max(1, steps // CURVE_POINTS)
        if step % stride == 0 or step in (1, steps):
            self._add(TRAIN, step, event, ("loss", "learning_rate", "tokens_per_second", "epoch"))

    def _validation(self, event: Event) -> None:
        loss, best = event["loss"], self._figures.get("best_validation_loss")
        self._figures |= {"validation_loss": loss, "perplexity": event.get("perplexity")}
        if best is None or loss <= best:
            self._figures |= {"best_validation_loss": loss, "best_step": event["step"]}
        self._add(VALIDATION, int(event["step"]), event, ("loss", "perplexity"))

    def _samples(self, event: Event) -> None:
        self._add(SAMPLES, int(event["step"]), event, ("samples",))

    def _note(self, event: Event) -> None:
        note = {"step": self._figures.get("step", 0), "text": str(event.get("text", ""))}
        self._figures["notes"] = [*self._figures.get("notes", []), note][-KEPT_NOTES:]

    def _add(self, kind: str, step: int, event: Event, names: tuple[str, ...]) -> None:
        values = {name: event[name] for name in names if name in event}
        self._points[kind, step] = Point(step=step, kind=kind, values=values)

    def unsaved(self) -> tuple[dict[str, Any], list[Point]] | None:
        """The figures and the points since the last save; None where nothing has changed."""
        return (dict(self._figures), list(self._points.values())) if self._changed else None

    def saved(self) -> None:
        """What `unsaved` returned is stored."""
        self._points.clear()
        self._changed, self.device = False, None


class StepPace:
    """How long steps take, with the evaluations and checkpoints between them, over the last few hundred."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque(maxlen=PACE_STEPS)  # when, and which step

    def step(self, number: int) -> None:
        self._seen.append((time.monotonic(), number))

    def left(self, steps: int) -> list[float] | None:
        """Seconds until the last step: at least, likely, at most; None where too little is known.

        Training that stops early ends sooner; that cannot be foreseen.
        """
        if len(self._seen) < MIN_PACE_STEPS or steps <= 0:
            return None
        seen = list(self._seen)
        remaining = max(steps - seen[-1][1], 0)
        likely = _seconds_a_step(seen) * remaining
        halves = _seconds_a_step(seen[: len(seen) // 2 + 1]), _seconds_a_step(seen[len(seen) // 2 :])
        error = max(MIN_ERROR, abs(halves[0] - halves[1]) / max(sum(halves), 1e-9))
        return [round(likely * factor, 1) for factor in (1 - min(error, 0.9), 1, 1 + error)]


def _seconds_a_step(seen: list[tuple[float, int]]) -> float:
    (began, first), (ended, last) = seen[0], seen[-1]
    return (ended - began) / max(last - first, 1)
