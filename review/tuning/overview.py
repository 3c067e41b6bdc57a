"""How a tuning stands, as its pages show it: figures, what it waits for, its curves, samples and notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.times import duration_range
from contract.spec import TuningStatus
from contract.waiting.surroundings import Surroundings
from db.session.engine import Database
from db.tuning.progress import SAMPLES, TRAIN, VALIDATION, Point, curve
from db.tuning.tunings import StoredTuning, find_tuning
from db.tuning.waiting import tuning_waits_for
from review.tuning.loss_chart import LossChart, loss_chart

FIGURES = (
    "step", "steps", "epoch", "loss", "validation_loss", "best_validation_loss", "best_step", "tokens_per_second",
    "left", "notes",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningOverview:
    """One tuning."""

    tuning: StoredTuning
    waiting: str | None  # what it waits for, with the command to type
    chart: LossChart | None = None  # once there are points
    samples: tuple[Point, ...] = ()  # of each evaluation, the newest first

    @property
    def progress(self) -> Mapping[str, Any]:
        """The newest figures; None where there is none yet."""
        return dict.fromkeys(FIGURES) | dict(self.tuning.progress or {})

    @property
    def left(self) -> str | None:
        """How long it still takes, where that is known."""
        left = self.progress["left"] if self.tuning.worker else None
        return duration_range(left[0], left[2]) if left else None

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        ended, started = self.tuning.finished_at, self.tuning.started_at
        return ended - started if ended is not None and started is not None else None

    @property
    def over(self) -> bool:
        """Whether nothing changes any more, unless somebody acts."""
        return self.tuning.finished

    @property
    def can_be_cancelled(self) -> bool:
        return self.tuning.status in (TuningStatus.QUEUED, TuningStatus.RUNNING, TuningStatus.PAUSED)

    @property
    def can_be_retried(self) -> bool:
        return self.tuning.status in (TuningStatus.FAILED, TuningStatus.CANCELLED, TuningStatus.PAUSED)


def brief_overview(database: Database, tuning: StoredTuning) -> TuningOverview:
    """How a tuning stands, without its curves."""
    return TuningOverview(tuning=tuning, waiting=tuning_waits_for(database, tuning, Surroundings()))


def tuning_overview(database: Database, number: int) -> TuningOverview:
    """How a tuning stands.

    Raises:
        NoSuchTuning: there is none of that number.
    """
    tuning = find_tuning(database, number)
    points = curve(database, number)
    losses = [[point for point in points if point.kind == kind] for kind in (TRAIN, VALIDATION)]
    steps = int((tuning.progress or {}).get("steps") or 0)
    return TuningOverview(
        tuning=tuning,
        waiting=tuning_waits_for(database, tuning, Surroundings()),
        chart=loss_chart(*losses, steps=steps) if any(losses) else None,
        samples=tuple(point for point in reversed(points) if point.kind == SAMPLES),
    )
