"""What a tuning is asked for (`TuningOrder`), and how its process ends (`TuningExit`).

Says nothing of how a model is trained, of SQL or of the corpus' files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from enum import IntEnum
from typing import Any, Self

from contract.errors import Problem, SettingsError, UsageError
from contract.spec import SEED_LIMIT

TUNING_DTYPES = ("auto", "fp32", "bf16")
"""What products are computed in; weights, gradients and the optimizer's moments are float32 in any case."""
LEAST_TOKENS = 2
"""One that is read, and one that is predicted."""


class TuningExit(IntEnum):
    """How the training process ends."""

    DONE = 0
    FAILED = 1  # an event of kind "error" said why
    UNREACHABLE = 4  # the base model cannot be found, fetched or trained
    ELSEWHERE = 69  # it began on another kind of device, and is for a worker that has that one
    DISK_FULL = 28  # paused: started again, it goes on from the last checkpoint
    INTERRUPTED = 75  # by SIGTERM; a checkpoint was saved


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningOrder:
    """What one tuning is asked for. None = chosen by the corpus' size or by the device, when training starts."""

    name: str  # of the new model
    base: str  # "demo", a Hub id, an own model ("tales@2"), or an absolute path
    base_revision: str | None = None  # the hash that the base has to have; None = whichever it has
    seed: int = 0  # of the order of the blocks, of dropout and of the samples
    device: str = "auto"
    dtype: str = "auto"  # of TUNING_DTYPES
    threads: int | None = None  # torch's; None = the cores that the process may use
    epochs: float | None = None  # at most one of epochs and steps
    steps: int | None = None  # updates of the weights
    learning_rate: float | None = None  # the peak, reached at the end of the warm-up
    warmup: float | None = None  # share of the steps
    weight_decay: float | None = None
    dropout: float | None = None  # None = none
    tokens_per_update: int | None = None  # the budget that gradient accumulation fills
    block: int | None = None  # tokens a block
    rows: int | None = None  # blocks in a micro-batch
    gradient_checkpointing: bool | None = None
    lora_rank: int | None = None  # None = every weight is trained
    train_on_prompts: bool = False  # applied when the corpus was prepared; kept for the model card
    evaluations_per_epoch: int | None = None
    patience: int | None = None  # evaluations without a better validation loss before training stops; 0 = never
    sample_prompts: tuple[str, ...] | None = None  # None = beginnings of validation documents
    checkpoint_seconds: float = 300  # between checkpoints, at most

    def __post_init__(self) -> None:
        """Raises SettingsError where a value cannot be used."""
        if problems := list(_problems(self)):
            raise SettingsError(problems)

    def to_json(self) -> dict[str, Any]:
        """Every field under its name, JSON-ready."""
        values = asdict(self)
        return values | {"sample_prompts": None if self.sample_prompts is None else list(self.sample_prompts)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The order that `to_json` wrote.

        Raises:
            SettingsError: a field is unknown or missing, or a value cannot be used.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(values.keys() - known):
            raise SettingsError([Problem(name, "is unknown to this version of Inkmill") for name in unknown])
        if missing := sorted({"name", "base"} - values.keys()):
            raise SettingsError([Problem(name, "is missing") for name in missing])
        prompts = values.get("sample_prompts")
        return cls(**(values | {"sample_prompts": None if prompts is None else tuple(prompts)}))

    def to_text(self) -> str:
        """`to_json` as a file holds it."""
        return json.dumps(self.to_json(), ensure_ascii=False, indent=2) + "\n"


def check_sizes(order: TuningOrder, train_tokens: int, positions: int | None) -> None:
    """Whether a corpus and a base have room for what is asked.

    Args:
        positions: of the base; None = not known here.

    Raises:
        UsageError: the corpus is too short, or a block longer than the base can read.
    """
    if train_tokens < LEAST_TOKENS:
        raise UsageError(
            f"the corpus has {train_tokens} tokens to learn from; give at least two documents of some length"
        )
    if order.block and positions is not None and order.block > positions:
        raise UsageError(f"--block is {order.block}, but the base model has {positions} positions; give less")


def _problems(order: TuningOrder) -> Iterator[Problem]:
    if order.epochs is not None and order.steps is not None:
        yield Problem("steps", "and epochs exclude each other; give one of them")
    if order.dtype not in TUNING_DTYPES:
        yield Problem("dtype", f"is {order.dtype!r}; a model is trained in {', '.join(TUNING_DTYPES)}")
    if not 0 <= order.seed < SEED_LIMIT:
        yield Problem("seed", f"is {order.seed}; use 0 to {SEED_LIMIT - 1}")
    for name, (low, high) in _RANGES.items():
        value = getattr(order, name)
        if value is not None and not low <= value <= high:
            yield Problem(name, f"is {value}; use {low:g} to {high:g}")
    for name in ("epochs", "learning_rate", "checkpoint_seconds"):
        if getattr(order, name) == 0:
            yield Problem(name, "is 0; give more than that")


_RANGES: dict[str, tuple[float, float]] = {
    "threads": (1, 4096),
    "epochs": (0, 10_000),
    "steps": (1, 100_000_000),
    "learning_rate": (0, 1),
    "warmup": (0, 1),
    "weight_decay": (0, 10),
    "dropout": (0, 0.9),
    "tokens_per_update": (1, 100_000_000),
    "block": (1, 1_000_000),
    "rows": (1, 65_536),
    "lora_rank": (1, 4096),
    "evaluations_per_epoch": (1, 10_000),
    "patience": (0, 10_000),
    "checkpoint_seconds": (0, 300),
}
