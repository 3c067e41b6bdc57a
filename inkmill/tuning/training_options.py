"""The options of `tune` that say how to train, made from one table. What is left out is chosen when training starts."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from inkmill.commands import options as o

PANEL = "Training (what is left out is chosen by the size of the corpus and of the base)"


@dataclass(frozen=True, slots=True)
class TrainingOption:
    """One of them."""

    field: str  # of contract.tunings.order.TuningOrder
    kind: Any
    help: str
    flag: str = ""  # "" = the field's name
    metavar: str | None = "N"

    @property
    def written(self) -> str:
        return self.flag or f"--{self.field.replace('_', '-')}"

    def parameter(self) -> inspect.Parameter:
        option = typer.Option(
            self.written, metavar=self.metavar, help=self.help, rich_help_panel=PANEL, show_default=False
        )
        kind = self.kind | None
        return inspect.Parameter(
            self.field, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option]
        )


OPTIONS = (
    TrainingOption("epochs", float, "How often to read the corpus; for example --epochs 3."),
    TrainingOption("steps", int, "Instead, how many updates of the weights; for example --steps 500."),
    TrainingOption("learning_rate", float, "Its peak; for example --learning-rate 5e-5."),
    TrainingOption(
        "warmup", float, "The share of the steps in which it rises; for example --warmup 0.1. [default: 0.05]"
    ),
    TrainingOption(
        "weight_decay", float, "What pulls weights towards 0; for example --weight-decay 0.1. [default: 0.01]"
    ),
    TrainingOption("dropout", float, "The share of activations left out; for example --dropout 0.1. [default: 0]"),
    TrainingOption(
        "tokens_per_update", int, "Tokens over which gradients are gathered; for example --tokens-per-update 16384."
    ),
    TrainingOption(
        "block", int,
        "Tokens that the model sees at once; for example --block 512. [default: its positions, 1,024 at most]",
    ),
    TrainingOption(
        "rows", int, "Blocks in a micro-batch; for example --rows 2. [default: as many as fit into memory]"
    ),
    TrainingOption(
        "lora_rank", int,
        "Train an adapter of that rank, which takes less memory, and merge it; for example --lora 16. [default: none]",
        flag="--lora", metavar="RANK",
    ),
    TrainingOption(
        "gradient_checkpointing", bool, "Less memory, more time. [default: where it is needed]",
        flag="--gradient-checkpointing/--no-gradient-checkpointing", metavar=None,
    ),
    TrainingOption(
        "evaluations_per_epoch", int,
        "How often the validation part is measured; for example --evaluations-per-epoch 4.",
    ),
    TrainingOption(
        "patience", int,
        "Stop after so many evaluations without a better one, 0 = never; for example --patience 5. [default: 3]",
    ),
    TrainingOption(
        "sample_prompts", list[str],
        "What the samples at each evaluation begin with; may be given more than once; for example --sample-prompt "
        "Once. [default: beginnings of validation documents]",
        flag="--sample-prompt", metavar="TEXT",
    ),
    TrainingOption(
        "seed", int,
        "Of the order of the texts and of the samples, from 0 to 2**53 - 1; for example --seed 42. [default: drawn at "
        "random and printed]",
    ),
    TrainingOption(
        "dtype", str, "auto, fp32 or bf16: what products are computed in; for example --dtype fp32. [default: auto]",
        metavar="DTYPE",
    ),
    TrainingOption("threads", int, "Compute threads; for example --threads 4. [default: the cores it may use]"),
)  # fmt: skip


def training_options() -> o.Command:
    """All of them, for `gather_options`; what they build are those that were set, by field."""

    def build(**values: Any) -> dict[str, Any]:
        given = {name: value for name, value in values.items() if value not in (None, [])}
        return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}

    return o.signed(build, build, [option.parameter() for option in OPTIONS])


def flag_of(field: str) -> str:
    """The option that sets a field."""
    return next((option.written for option in OPTIONS if option.field == field), f"--{field}")
