"""Everything that is fixed before training starts: what was asked for, and what was chosen where nothing was asked for.

Decisions only: sizes in, numbers out; no model and no corpus is known here.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from contract.errors import UsageError
from contract.tunings.order import TuningOrder, check_sizes

LONGEST_BLOCK = 1024
MICRO_BATCH = {"cpu": 2048, "cuda": 16384}
"""Tokens in a micro-batch, where memory allows: measured on a CPU, where more are no faster."""
UPDATES_PER_EPOCH = 256  # what the token budget aims at
LARGEST_UPDATE = 32_768  # tokens
EPOCHS = ((50_000, 10), (500_000, 5), (5_000_000, 3), (50_000_000, 2))
"""Up to so many tokens, so many epochs; beyond, one. Early stopping ends sooner what does not need them all."""
EVALUATIONS = 12  # that a whole training aims at
STEPS_BETWEEN_EVALUATIONS = 5  # at least
PATIENCE = 3
EVALUATION_SHARE = 0.3
"""Tokens of an evaluation for each token trained on between two: a forward pass is a third of a step, so a tenth of
the time goes there at most."""
LEAST_VALIDATION = 8  # blocks, as far as there are so many
TRAIN_EVENTS = 500  # that a whole training gives at most

LEARNING_RATE, ITS_PARAMETERS = 2e-4, 124_000_000  # SmolLM2-135M, measured; others by the square root of their size
LEARNING_RATES = (1e-5, 1e-3)
LORA_FACTOR = 10
"""Adapters learn with ten times the rate of whole weights: Schulman et al., "LoRA Without Regret", 2025."""

TRAINED_BYTES = 16  # of a parameter: itself, its gradient and AdamW's two moments, float32
FROZEN_BYTES = 4
ACTIVATIONS = 16  # values of the hidden size that each layer keeps for a token
LOGIT_COPIES = 3  # the logits, their softmax and its gradient
CHECKPOINTED = 0.2  # of the activations stay with gradient checkpointing


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What the choices depend on."""

    train_tokens: int
    validation_tokens: int
    positions: int  # of the model
    parameters: int
    layers: int
    hidden: int
    vocabulary: int
    device: str  # "cpu" or "cuda"
    bfloat16: bool  # the device multiplies it in hardware
    cores: int
    memory: int  # bytes of the device


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A tuning, ready to start."""

    order: TuningOrder  # nothing left open, but for one of epochs and steps, and what None means there
    blocks: int  # in an epoch
    accumulation: int  # micro-batches an update
    steps: int  # updates
    evaluate_every: int  # steps
    validation_blocks: int  # 0 = there is nothing to validate with
    log_every: int  # steps
    machine: dict[str, Any]  # what decides the bits, as it was at the first start

    @property
    def blocks_per_update(self) -> int:
        return self.accumulation * (self.order.rows or 1)

    def epoch(self, step: int) -> float:
        """How many epochs are over after a step."""
        return step * self.blocks_per_update / self.blocks

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"order": self.order.to_json()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        return cls(**(values | {"order": TuningOrder.from_json(values["order"])}))


def settle(order: TuningOrder, sizes: Sizes, machine: dict[str, Any]) -> Settled:
    """
    Raises:
        UsageError: the corpus is too short, or the model too large for this machine.
    """
    check_sizes(order, sizes.train_tokens, sizes.positions)
    _check_memory(order, sizes)
    block = min(order.block or LONGEST_BLOCK, sizes.positions, sizes.train_tokens - 1)
    blocks = -(-(sizes.train_tokens - 1) // block)
    budget = order.tokens_per_update or min(LARGEST_UPDATE, max(block, sizes.train_tokens // UPDATES_PER_EPOCH))
    checkpointing, fitting = _fitting_rows(order, sizes, block)
    rows = order.rows or max(1, min(fitting, MICRO_BATCH[sizes.device] // block, budget // block, blocks))
    accumulation = max(1, min(round(budget / (rows * block)), -(-blocks // rows)))
    per_epoch = blocks / (rows * accumulation)
    epochs = order.epochs if order.epochs or order.steps else _epochs(sizes.train_tokens)
    steps = order.steps or max(1, math.ceil(per_epoch * (epochs or 1) - 1e-9))
    evaluations = order.evaluations_per_epoch or _evaluations(steps / per_epoch, per_epoch)
    every = max(1, min(round(per_epoch / evaluations), steps))
    chosen = replace(
        order,
        epochs=epochs,
        block=block,
        rows=rows,
        gradient_checkpointing=checkpointing,
        tokens_per_update=rows * accumulation * block,
        dtype=_dtype(order, sizes),
        threads=order.threads or sizes.cores,
        learning_rate=order.learning_rate or _learning_rate(order, sizes.parameters),
        warmup=0.05 if order.warmup is None else order.warmup,
        weight_decay=0.01 if order.weight_decay is None else order.weight_decay,
        dropout=order.dropout or 0.0,
        evaluations_per_epoch=evaluations,
        patience=PATIENCE if order.patience is None else order.patience,
    )
    return Settled(
        order=chosen,
        blocks=blocks,
        accumulation=accumulation,
        steps=steps,
        evaluate_every=every,
        validation_blocks=_validation_blocks(sizes.validation_tokens, block, every * rows * accumulation),
        log_every=max(1, steps // TRAIN_EVENTS),
        machine=machine,
    )


def _epochs(tokens: int) -> float:
    return next((epochs for limit, epochs in EPOCHS if tokens <= limit), 1)


def _evaluations(epochs: float, steps_per_epoch: float) -> int:
    """How many evaluations an epoch has: several, where it has steps enough."""
    return max(1, min(math.ceil(EVALUATIONS / max(epochs, 1)), int(steps_per_epoch / STEPS_BETWEEN_EVALUATIONS)))


def _validation_blocks(tokens: int, block: int, blocks_between: int) -> int:
    available = max(0, -(-(tokens - 1) // block))
    return min(available, max(LEAST_VALIDATION, math.ceil(EVALUATION_SHARE * blocks_between)))


def _learning_rate(order: TuningOrder, parameters: int) -> float:
    low, high = LEARNING_RATES
    rate = min(high, max(low, LEARNING_RATE * math.sqrt(ITS_PARAMETERS / parameters)))
    rate = min(high, rate * LORA_FACTOR) if order.lora_rank else rate
    return float(f"{rate:.1e}")


def _dtype(order: TuningOrder, sizes: Sizes) -> str:
    if order.dtype != "auto":
        return order.dtype
    return "bf16" if sizes.bfloat16 else "fp32"


def _fixed_bytes(order: TuningOrder, sizes: Sizes) -> int:
    return sizes.parameters * (FROZEN_BYTES if order.lora_rank else TRAINED_BYTES)


def _check_memory(order: TuningOrder, sizes: Sizes) -> None:
    """Refuses what cannot be held at all: the kernel would kill it after minutes of loading."""
    needed = _fixed_bytes(order, sizes)
    if needed > sizes.memory:
        raise UsageError(
            f"to train all {sizes.parameters:,} weights takes {needed / 1e9:.1f} GB beside the activations, and this "
            f"machine has {sizes.memory / 1e9:.1f} GB; train an adapter with --lora 16, or take a smaller base"
        )


def _fitting_rows(order: TuningOrder, sizes: Sizes, block: int) -> tuple[bool, int]:
    """Whether gradient checkpointing is needed (or was asked for), and how many rows of a block fit into memory."""
    free = max(0, (sizes.memory - _fixed_bytes(order, sizes)) // 2)
    logits = 4 * LOGIT_COPIES * sizes.vocabulary
    kept = 4 * ACTIVATIONS * sizes.layers * sizes.hidden

    def rows(share: float) -> int:
        return int(free / (block * (logits + share * kept)))

    if order.gradient_checkpointing is None:
        needed = rows(1.0) < 1
        return needed, rows(CHECKPOINTED if needed else 1.0)
    return order.gradient_checkpointing, rows(CHECKPOINTED if order.gradient_checkpointing else 1.0)
