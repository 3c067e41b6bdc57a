"""What happens beside training: signs of life, curves, samples, checkpoints by the clock, and the end on SIGTERM.

Knows of the Trainer's state and control only; how a loss is computed is not its affair.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import transformers

from worker.tuning.process.events import Events
from worker.tuning.process.interruption import Interrupted, Interruption
from worker.tuning.settled import Settled

library: Any = transformers  # untyped
Samples = list[dict[str, str]]


class Diverged(Exception):
    """The training loss is no number any more."""


class Reporter(library.TrainerCallback):  # type: ignore[misc]
    """Tells of the training as it goes, and keeps samples in the Trainer's history, so that checkpoints hold them."""

    def __init__(
        self,
        settled: Settled,
        events: Events,
        interruption: Interruption,
        *,
        samples: Callable[[], Samples],
        pace: Callable[[], tuple[int, float]],
    ) -> None:
        """
        Args:
            samples: draws them.
            pace: how many tokens were learned, and in how many seconds, since this process started.
        """
        self._settled, self._events, self._interruption = settled, events, interruption
        self._samples, self._pace = samples, pace
        self._saved_at, self._last_pace = time.monotonic(), (0, 0.0)

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._events.alive()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._events.alive()
        late = time.monotonic() - self._saved_at >= self._settled.order.checkpoint_seconds
        if late or self._interruption.requested:
            control.should_save = True

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._events.alive()
        if self._interruption.requested:
            raise Interrupted  # a checkpoint here would be one without this validation; the last one will do

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._saved_at = time.monotonic()
        if self._interruption.requested:
            raise Interrupted

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:
        if "loss" not in logs:
            return  # of a validation, or the summary at the end
        if not math.isfinite(logs["loss"]):
            raise Diverged(
                f"the training loss is no number any more at step {state.global_step}; start again with a smaller "
                f"--learning-rate than {self._settled.order.learning_rate:g}"
            )
        self._events.say(
            "train",
            step=state.global_step,
            steps=self._settled.steps,
            epoch=round(self._settled.epoch(state.global_step), 4),
            loss=logs["loss"],
            tokens_per_second=self._tokens_per_second(),
            learning_rate=logs["learning_rate"],
        )

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
        step, loss = state.global_step, metrics["eval_loss"]
        self._events.say("validation", step=step, loss=finite(loss), perplexity=finite(perplexity(loss)))
        if step == 0:
            return  # of the base, whose samples were drawn before
        for text in remarks(state.log_history, self._settled.order.patience or 0):
            self._events.note(text)
        with self._events.busy():
            samples = self._samples()
        state.log_history.append({"step": step, "samples": samples})
        self._events.say("samples", step=step, samples=samples)

    def _tokens_per_second(self) -> float:
        """Since the last time."""
        (tokens, seconds), before = self._pace(), self._last_pace
        self._last_pace = tokens, seconds
        return round((tokens - before[0]) / max(seconds - before[1], 1e-9), 1)


def finite(value: float) -> float | None:
    """For JSON, which has no infinity."""
    return value if math.isfinite(value) else None


def perplexity(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf


def remarks(history: Sequence[dict[str, Any]], patience: int) -> list[str]:
    """What the newest validation in the Trainer's history says that a user should know."""
    validations = [(entry["step"], entry["eval_loss"]) for entry in history if "eval_loss" in entry]
    if len(validations) < 2:
        return []
    (before, loss_before), (now, loss) = validations[-2:]
    best = min(loss for _, loss in validations[:-1])
    worse = _in_a_row(loss for _, loss in validations)
    said = []
    if loss > loss_before and loss > best and (fell := _fall(history, before)):
        said.append(
            f"validation loss rose from {loss_before:.3f} to {loss:.3f} at step {now} while training loss fell from "
            f"{fell[0]:.3f} to {fell[1]:.3f}: the model begins to learn the corpus by heart; what is kept is the best "
            f"so far, {best:.3f}"
        )
    if patience and worse >= patience:
        said.append(f"no better validation loss in {worse} evaluations in a row: training stops early at step {now}")
    return said


def _in_a_row(losses: Any) -> int:
    """How many of the last losses are no better than the best before them."""
    best, worse = math.inf, 0
    for loss in losses:
        worse = 0 if loss < best else worse + 1
        best = min(best, loss)
    return worse


def _fall(history: Sequence[dict[str, Any]], since: int) -> tuple[float, float] | None:
    """The mean training loss before and after a step, if it fell; over stretches of the same kind, between two
    validations."""
    steps = sorted({entry["step"] for entry in history if "eval_loss" in entry and entry["step"] < since})
    start = steps[-1] if steps else 0
    losses = [(entry["step"], entry["loss"]) for entry in history if "loss" in entry]
    earlier = [loss for step, loss in losses if start < step <= since]
    later = [loss for step, loss in losses if step > since]
    if not earlier or not later:
        return None
    before, after = sum(earlier) / len(earlier), sum(later) / len(later)
    return (before, after) if after < before else None
