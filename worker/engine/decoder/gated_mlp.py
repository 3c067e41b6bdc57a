"""The usual feed-forward part of a layer, down(activation(gate(x)) * up(x)), as two products with one loop between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations
from typing import NamedTuple

import torch
import torch.nn.functional as F

from worker.engine.cpu.activation import ERF_GELU, QUICK_GELU, SILU, TANH_GELU, activate
from worker.engine.cpu.linear import Linear, activations, empty_activations
from worker.engine.decoder.elementwise import as_numbers
from worker.engine.decoder.trying import LARGE, alike, linears_of, random_rows

FUNCTIONS: dict[int, Callable[[torch.Tensor], torch.Tensor]] = {
    SILU: F.silu,
    TANH_GELU: lambda rows: F.gelu(rows, approximate="tanh"),
    ERF_GELU: F.gelu,
    QUICK_GELU: lambda rows: rows * torch.sigmoid(1.702 * rows),
}


class Parts(NamedTuple):
    """What such a module computes with."""

    gate: torch.nn.Linear
    up: torch.nn.Linear
    down: torch.nn.Linear
    kind: int  # of activation

    def compute(self, rows: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.down(FUNCTIONS[self.kind](self.gate(rows)) * self.up(rows))
        return result


def parts_of(module: torch.nn.Module) -> Parts | None:
    """The parts of a module that computes just that, found by trying; None where it does not."""
    linears, others = linears_of(module)
    if len(linears) != 3 or any(True for other in others for _ in other.parameters()):
        return None
    return next((parts for parts in _possible(linears) if _fits(module, parts)), None)


def _fits(module: torch.nn.Module, parts: Parts) -> bool:
    """With numbers that are far too large as well: a module that clips them shows it."""
    rows = random_rows(parts.gate.in_features)
    return alike(module, parts.compute, rows) and alike(module, parts.compute, LARGE * rows)


def _possible(linears: list[torch.nn.Linear]) -> Iterator[Parts]:
    for gate, up, down in permutations(linears):
        width, inner = gate.in_features, gate.out_features
        if (up.in_features, up.out_features, down.in_features, down.out_features) == (width, inner, inner, width):
            yield from (Parts(gate, up, down, kind) for kind in FUNCTIONS)


class GatedMLP(torch.nn.Module):
    """[..., width] to the same."""

    def __init__(self, gate_up: Linear, down: Linear, kind: int, inner: int, dtype: str, threads: int) -> None:
        """inner: numbers between the products."""
        super().__init__()
        self._gate_up, self._down, self._kind, self._inner = gate_up, down, kind, inner
        self._dtype, self._threads = dtype, threads

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        flat = rows.reshape(-1, rows.shape[-1])
        products = self._gate_up(activations(flat, self._dtype, self._threads))
        activated = empty_activations((len(flat), self._inner), self._dtype)
        activate(products.arrays, self._kind, self._threads, activated.arrays)
        return as_numbers(self._down(activated), self._threads).view(rows.shape)
