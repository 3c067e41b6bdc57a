"""Modules that compute each row alike whatever rows are beside it: linear layers, norms, activations, rotary tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from worker.engine.compiled.float_bits import as_array
from worker.engine.cpu.activation import activate
from worker.engine.cpu.linear import Activations, Linear, Products, activations
from worker.engine.decoder.elementwise import as_numbers, rms_norm
from worker.engine.decoder.survey import Unsupported

ROTARY_CHUNK = 64


class RowWiseLinear(torch.nn.Module):
    """Any number of rows through one of our linear layers, [..., in] to [..., out]."""

    def __init__(self, layer: Linear, dtype: str, threads: int) -> None:
        super().__init__()
        self._layer, self._dtype, self._threads = layer, dtype, threads

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        flat = rows.reshape(-1, rows.shape[-1])
        products = self._layer(activations(flat, self._dtype, self._threads))
        return as_numbers(products, self._threads).view(*rows.shape[:-1], -1)


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
    """An activation, by its kind; see worker.engine.cpu.activation."""

    def __init__(self, kind: int, threads: int) -> None:
        super().__init__()
        self._kind, self._threads = kind, threads

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        flat = rows.reshape(-1, rows.shape[-1]).contiguous()
        activated = Activations(torch.empty_like(flat))
        activate(Products(flat).arrays, self._kind, self._threads, activated.arrays)
        return activated.values.view(rows.shape)


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
