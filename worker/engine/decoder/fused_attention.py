"""The usual attention part of a layer, as two products with one loop between.

The projections lie beside each other, and are rotated as they are read. A layer's own module is asked for an example of
what it computes, and is replaced where that is just this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, NamedTuple

import torch

from worker.engine.cpu.linear import Linear, activations, empty_activations
from worker.engine.decoder.elementwise import as_numbers
from worker.engine.decoder.served_attention import LayerAttention
from worker.engine.decoder.survey import TOKENS, AttentionCall, recording, run_once
from worker.engine.decoder.trying import LARGE, linears_of, same_numbers


@dataclass(frozen=True, slots=True)
class Example:
    """What a layer's module was given, what it asked of attention, what it got, and what it returned."""

    hidden: torch.Tensor  # [1, rows, width]
    rotation: tuple[torch.Tensor, torch.Tensor] | None  # [1, rows, rotated] each: cosines and sines
    asked: tuple[
        torch.Tensor, torch.Tensor, torch.Tensor
    ]  # queries, keys, values: [1, heads or groups, rows, head_dim]
    attended: torch.Tensor  # [1, rows, heads, head_dim]
    returned: Any


Examples = Mapping[torch.nn.Module, list[Example]]


@torch.inference_mode()
def examples_of(network: Any, calls: tuple[AttentionCall, ...], positions: int) -> Examples:
    """Of every layer's attention module, by two short forward passes, at the window's beginning and at its end.

    What the layers read is far too large: a module that does something else with large numbers shows it, too.
    """
    asked: dict[torch.nn.Module, tuple[Any, Any]] = {}
    examples: dict[torch.nn.Module, list[Example]] = {call.module: [] for call in calls}

    def attend(module: torch.nn.Module, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> tuple[Any, None]:
        attended = torch.randn(1, TOKENS, query.shape[1], value.shape[3], generator=torch.Generator().manual_seed(0))
        asked[module] = ((query, key, value), attended)
        return attended, None

    def keep(module: torch.nn.Module, others: Any, named: Mapping[str, Any], returned: Any) -> None:
        hidden = named.get("hidden_states", others[0] if others else None)
        examples[module].append(Example(hidden, named.get("position_embeddings"), *asked[module], returned))

    hooks = [call.module.register_forward_hook(keep, with_kwargs=True) for call in calls]
    hooks += [call.module.register_forward_pre_hook(_enlarged, with_kwargs=True) for call in calls]
    try:
        with recording(network, attend, positions):
            for first in (0, positions - TOKENS):
                run_once(network, first)
    finally:
        for hook in hooks:
            hook.remove()
    return examples


def _enlarged(_: torch.nn.Module, others: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    if isinstance(hidden := named.get("hidden_states"), torch.Tensor):
        return others, named | {"hidden_states": LARGE * hidden}
    return tuple(
        LARGE * other if at == 0 and isinstance(other, torch.Tensor) else other for at, other in enumerate(others)
    ), named


class Projections(NamedTuple):
    """What such a module computes with."""

    query: torch.nn.Linear
    key: torch.nn.Linear
    value: torch.nn.Linear
    out: torch.nn.Linear
    rotated: bool

    @property
    def inputs(self) -> tuple[torch.nn.Linear, ...]:
        return self.query, self.key, self.value


@torch.inference_mode()
def projections_of(module: torch.nn.Module, examples: Sequence[Example]) -> Projections | None:
    """The projections of a module that computes just that, found by trying; None where it does not."""
    linears, others = linears_of(module)
    plain = len(linears) == 4 and not any(True for other in others for _ in other.parameters())
    if not plain or not all(isinstance(example.hidden, torch.Tensor) for example in examples):
        return None
    ways = (False,) if any(example.rotation is None for example in examples) else (True, False)
    orders = permutations(linears, 4)
    possible = (Projections(*order, rotated=rotated) for order in orders for rotated in ways)
    return next((found for found in possible if all(_fits(found, example) for example in examples)), None)


def _fits(found: Projections, example: Example) -> bool:
    query, key, value = example.asked
    projected = _projected(found, example)
    if projected is None or not isinstance(example.returned, tuple) or len(example.returned) != 2:
        return False
    theirs, weights = example.returned
    returned = found.out(example.attended.flatten(2))
    pairs = zip((query, key, value, theirs), (*projected, returned), strict=True)
    return weights is None and all(same_numbers(theirs, ours) for theirs, ours in pairs)


def _projected(found: Projections, example: Example) -> list[torch.Tensor] | None:
    """Queries, keys and values as attention would get them; None where they cannot be."""
    parts = []
    for linear, asked in zip(found.inputs, example.asked, strict=True):
        heads, head_dim = asked.shape[1], asked.shape[3]
        if linear.in_features != example.hidden.shape[2] or linear.out_features != heads * head_dim:
            return None
        parts.append(linear(example.hidden).view(1, -1, heads, head_dim).transpose(1, 2))
    if found.out.in_features != example.attended.shape[2] * example.attended.shape[3]:
        return None
    if found.rotated and example.rotation is not None:
        parts[:2] = [_rotated(part, *example.rotation) for part in parts[:2]]
    return parts


def _rotated(numbers: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """As worker.engine.cpu.attention does it. numbers: [1, heads, rows, head_dim]."""
    count = cosines.shape[2]
    turned, rest = numbers[..., :count], numbers[..., count:]
    first, second = turned.chunk(2, dim=-1)
    other = torch.cat([-second, first], dim=-1)
    return torch.cat([turned * cosines[:, None] + other * sines[:, None], rest], dim=-1)


class FusedAttention(torch.nn.Module):
    """In the place of a layer's own module; takes and returns what that does."""

    def __init__(
        self,
        module: torch.nn.Module,
        wide: Linear,
        out: Linear,
        attention: LayerAttention,
        rotated: bool,
        dtype: str,
        threads: int,
    ) -> None:
        super().__init__()
        self.__dict__.update(
            {name: value for name, value in vars(module).items() if not name.startswith("_") and name != "forward"}
        )
        self._wide, self._out, self._attention = wide, out, attention
        self._rotated, self._dtype, self._threads = rotated, dtype, threads

    def forward(self, hidden_states: torch.Tensor, *_: Any, position_embeddings: Any = None, **__: Any) -> Any:
        rows = hidden_states.reshape(-1, hidden_states.shape[-1])
        projected = self._wide(activations(rows, self._dtype, self._threads))
        attended = empty_activations((len(rows), self._attention.width), self._dtype)
        rotation = self._attention.rotation(position_embeddings) if self._rotated else None
        self._attention.attend(projected, rotation, attended)
        return as_numbers(self._out(attended), self._threads).view(hidden_states.shape), None
