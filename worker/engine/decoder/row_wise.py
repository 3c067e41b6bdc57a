"""A network's modules replaced by ones that compute each row alike whatever rows are beside it.

Which function a module computes is found by trying it, never by its name; one that is not known stays as it is, and the
trial (worker.engine.decoder.trial) has the last word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers.pytorch_utils import Conv1D

from worker.engine.compiled.float_bits import as_array
from worker.engine.cpu.batch_invariant import batch_invariant
from worker.engine.cpu.linear import Linear, activations
from worker.engine.decoder.elementwise import dequantise_rows, erf_gelu, rms_norm, sigmoid_linear, tanh_gelu
from worker.engine.decoder.survey import Unsupported

ALIKE = 1e-5  # how far a function may be from the one tried: float32's rounding, and no more
TRIED_ROWS = 3
ROTARY_CHUNK = 64

Activate = Callable[[Any, int, Any], None]  # rows, threads, result


class RowWiseLinear(torch.nn.Module):
    """Any number of rows through one of our linear layers, [..., in] to [..., out]."""

    def __init__(self, layer: Linear, dtype: str, threads: int) -> None:
        super().__init__()
        self._layer, self._dtype, self._threads = layer, dtype, threads

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        flat = rows.reshape(-1, rows.shape[-1])
        products = self._layer(activations(flat, self._dtype, self._threads))
        if self._dtype == "int8":
            dequantise_rows(products.arrays, self._threads)
        return products.values.view(*rows.shape[:-1], -1)


class RowWiseNorm(torch.nn.Module):
    """A root mean square norm."""

    def __init__(self, weight: torch.Tensor, epsilon: float, threads: int) -> None:
        super().__init__()
        self._weight, self._epsilon, self._threads = weight.numpy(), np.float32(epsilon), threads

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        flat = rows.reshape(-1, rows.shape[-1]).contiguous()
        normed = torch.empty_like(flat)
        rms_norm(as_array(flat), self._weight, self._epsilon, self._threads, as_array(normed))
        return normed.view(rows.shape)


class RowWiseActivation(torch.nn.Module):
    """An activation."""

    def __init__(self, activate: Activate, threads: int) -> None:
        super().__init__()
        self._activate, self._threads = activate, threads

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        flat = rows.reshape(-1, rows.shape[-1]).contiguous()
        activated = torch.empty_like(flat)
        self._activate(as_array(flat), self._threads, as_array(activated))
        return activated.view(rows.shape)


class RotaryTable(torch.nn.Module):
    """A rotary embedding's cosines and sines, computed once for each position."""

    def __init__(self, embedding: torch.nn.Module, positions: int) -> None:
        super().__init__()
        self._embedding, self._positions = [embedding], positions  # in a list it is no part of the network
        self._tables: dict[object, tuple[torch.Tensor, torch.Tensor]] = {}

    def forward(self, hidden: torch.Tensor, position_ids: torch.Tensor, *others: Any, **named: Any) -> Any:
        """[1, rows] to a pair of [1, rows, rotated numbers]."""
        key = (hidden.dtype, others, tuple(named.items()))
        if key not in self._tables:
            self._tables[key] = self._table(hidden, others, named)
        return tuple(table[position_ids[0]][None] for table in self._tables[key])

    def _table(self, hidden: torch.Tensor, others: Any, named: Any) -> tuple[torch.Tensor, torch.Tensor]:
        (embedding,) = self._embedding
        second, last = torch.tensor([[1]]), torch.tensor([[1, self._positions - 1]])
        alone, beside = (embedding(hidden, places, *others, **named) for places in (second, last))
        if not all(torch.equal(one, other[:, :1]) for one, other in zip(alone, beside, strict=True)):
            raise Unsupported("its rotary embedding depends on the longest text beside a row")
        chunks = [
            embedding(hidden, chunk[None], *others, **named)
            for chunk in torch.split(torch.arange(self._positions), ROTARY_CHUNK)
        ]
        cosines, sines = (torch.cat([chunk[part][0] for chunk in chunks]) for part in (0, 1))
        return cosines, sines


class Replacement:
    """Replaces what it knows in a network, from float32 weights."""

    def __init__(self, dtype: str, positions: int) -> None:
        self._dtype, self._positions, self._threads = dtype, positions, torch.get_num_threads()
        self.multiple = 1  # in which rows come out alike of every layer made so far

    @torch.inference_mode()
    def apply(self, network: Any) -> None:
        replaced: dict[int, torch.nn.Module] = {}
        for module in list(network.modules()):
            for name, child in list(module.named_children()):
                if id(child) not in replaced:
                    replaced[id(child)] = self._replaced(child)
                if replaced[id(child)] is not child:
                    setattr(module, name, replaced[id(child)])

    def _replaced(self, module: torch.nn.Module) -> torch.nn.Module:
        if isinstance(module, torch.nn.Linear | Conv1D):
            return self._linear(module)
        if any(name.endswith("inv_freq") for name, _ in module.named_buffers(recurse=False)):
            return RotaryTable(module, self._positions)
        if any(True for _ in module.children()):
            return module
        parameters = dict(module.named_parameters())
        if not parameters:
            return self._activation(module)
        (weight, *others) = parameters.values()
        return self._norm(module, len(weight)) if not others and weight.dim() == 1 else module

    def _linear(self, module: Any) -> RowWiseLinear:
        weight = module.weight.detach().float()
        bias = None if module.bias is None else module.bias.detach().float().clone()
        invariant = batch_invariant(
            weight.t() if isinstance(module, Conv1D) else weight, bias, self._dtype, self._threads
        )
        self.multiple = max(self.multiple, invariant.multiple)
        return RowWiseLinear(invariant.layer, self._dtype, self._threads)

    def _norm(self, module: torch.nn.Module, width: int) -> torch.nn.Module:
        """Ones come out as the weights, whatever a family adds to those."""
        epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        if not isinstance(epsilon, float):
            return module
        weight = module(torch.ones(1, width))[0] * (1 + epsilon) ** 0.5
        norm = RowWiseNorm(weight.detach().clone(), epsilon, self._threads)
        return norm if _alike(module, norm, _random_rows(width)) else module

    def _activation(self, module: torch.nn.Module) -> torch.nn.Module:
        for activate in ACTIVATIONS:
            activation = RowWiseActivation(activate, self._threads)
            if _alike(module, activation, _range_of_numbers()):
                return activation
        return module


def _silu(rows: Any, threads: int, activated: Any) -> None:
    sigmoid_linear(rows, np.float32(1), threads, activated)


def _quick_gelu(rows: Any, threads: int, activated: Any) -> None:
    sigmoid_linear(rows, np.float32(1.702), threads, activated)


ACTIVATIONS: tuple[Activate, ...] = (_silu, tanh_gelu, erf_gelu, _quick_gelu)


def _alike(module: torch.nn.Module, ours: torch.nn.Module, rows: torch.Tensor) -> bool:
    """Whether both compute the same of rows, but for rounding."""
    try:
        theirs = module(rows.clone())
    except Exception:  # it takes other arguments
        return False
    if not isinstance(theirs, torch.Tensor) or theirs.shape != rows.shape:
        return False
    return torch.allclose(theirs, ours(rows), rtol=ALIKE, atol=ALIKE)


def _random_rows(width: int) -> torch.Tensor:
    return torch.randn(TRIED_ROWS, width, generator=torch.Generator().manual_seed(0)) * 3


def _range_of_numbers() -> torch.Tensor:
    return torch.linspace(-12, 12, 2048)[None]
