"""How a tuning stands: as the JSON of the contract, as lines for people, as a progress line while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.markup import escape

from common.times import duration_range, iso
from common.wording import folded, on_one_line
from db.tuning.progress import SAMPLES, Point
from db.tuning.tunings import StoredTuning
from inkmill.show.terminal import messages, output

FIGURES = ("step", "steps", "epoch", "loss", "validation_loss", "best_validation_loss", "tokens_per_second")
SHOWN_CHARACTERS = 200


def tuning_json(tuning: StoredTuning, waiting: str | None) -> dict[str, Any]:
    """A tuning's status as `--json` prints it: docs/commands.md promises its fields."""
    progress = tuning.progress or {}
    left = _left(tuning)
    return {
        "schema_version": 1,
        "id": tuning.reference,
        "kind": "tuning",
        "name": tuning.name,
        "status": tuning.status.value,
        "base": tuning.base,
        "model": tuning.model,
        **{name: progress.get(name) for name in FIGURES},
        "eta_seconds": left[1] if left else None,
        "eta_range": [left[0], left[2]] if left else None,
        "created_at": iso(tuning.created_at),
        "started_at": iso(tuning.started_at),
        "finished_at": iso(tuning.finished_at),
        "waiting_for": waiting,
        "notes": progress.get("notes", []),
        "error": tuning.error,
    }


def _left(tuning: StoredTuning) -> list[float] | None:
    """Seconds to its end, at least, likely and at most, where it runs and something is known."""
    return (tuning.progress or {}).get("left") if tuning.worker else None


def progress_line(tuning: StoredTuning, waiting: str | None) -> str:
    """One line while it runs."""
    if waiting:
        return f"{tuning.reference} is waiting for {waiting}"
    progress, left = tuning.progress or {}, _left(tuning)
    if not progress.get("step"):
        return f"{tuning.reference}: {_last_note(tuning) or 'starting'}"
    parts = [f"{tuning.reference}: step {progress['step']:,} of {progress.get('steps') or 0:,}", *_figures(progress)]
    return " · ".join(parts + ([f"{duration_range(left[0], left[2])} left"] if left else []))


def _figures(progress: dict[str, Any] | Any) -> Iterator[str]:
    if progress.get("epoch") is not None:
        yield f"epoch {progress['epoch']:.2f}"
    if progress.get("loss") is not None:
        yield f"loss {progress['loss']:.3f}"
    if progress.get("validation_loss") is not None:
        best = progress.get("best_validation_loss")
        behind = "" if best is None or best >= progress["validation_loss"] else f" (best {best:.3f})"
        yield f"validation {progress['validation_loss']:.3f}{behind}"
    if progress.get("tokens_per_second"):
        yield f"{progress['tokens_per_second']:,.0f} tokens/s"


def _last_note(tuning: StoredTuning) -> str:
    notes = (tuning.progress or {}).get("notes") or []
    return on_one_line(notes[-1]["text"]) if notes else ""


def print_tuning(tuning: StoredTuning, waiting: str | None) -> None:
    """A tuning's status for people, on standard output."""
    name, base = escape(tuning.name), escape(on_one_line(tuning.base))
    output.print(f"tuning {tuning.reference}  {name}  [bold]{tuning.status}[/bold]  from {base}")
    progress = tuning.progress or {}
    if progress.get("step"):
        figures = " · ".join(_figures(progress))
        output.print(f"  step     {progress['step']:,} of {progress.get('steps') or 0:,} · {figures}", markup=False)
    for note in progress.get("notes", [])[-3:]:
        output.print(f"  note     {on_one_line(note['text'])}", markup=False)
    if (left := _left(tuning)) is not None:
        output.print(f"  left     {duration_range(left[0], left[2])}, or less where it stops early")
    if tuning.model:
        output.print(f"  model    {tuning.model}", markup=False)
    if waiting:
        output.print(f"  waiting for {waiting}", markup=False)
    elif tuning.error:
        output.print(f"  {tuning.status}: {on_one_line(tuning.error)}", markup=False)


def print_samples(points: list[Point]) -> None:
    """The samples of the last evaluation, as messages."""
    last = next((point for point in reversed(points) if point.kind == SAMPLES), None)
    for sample in (last.values.get("samples") or []) if last else []:
        prompt, text = (escape(folded(str(sample.get(name, "")), SHOWN_CHARACTERS)) for name in ("prompt", "text"))
        messages.print(f"  · [bold]{prompt or '(no prompt)'}[/bold] {text}")
