"""Layers over rows, whose result for a row never depends on the rows beside it: batch invariance.

A matrix product may round a row differently when the number of rows changes, because another kernel is
chosen. What is known here is how many rows a product must have so that this does not happen.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F

MULTIPLE = 8
"""On x86 CPUs, rows in multiples of 8 come out alike whatever their number and the number of threads.
(MKL's float32 product takes another kernel for 1 to 3 rows left to a thread, bfloat16's for one row.
Where a layer's width is no multiple of 16, as in no published GPT-2, the number of threads does matter.)"""

BLOCK = 64
"""Where that does not hold, every product has exactly this many rows, so that no number can matter."""

ACTIVATION_ELEMENTS = 1 << 14  # below torch's threshold for cutting one call among threads
VECTOR = 64  # elements; a length it divides leaves no rest to the scalar code, which rounds differently


class RowLayers:
    """Linear layers and the activation, fit for the weights' shapes and the machine they run on."""

    def __init__(self, weights: Iterable[torch.Tensor]) -> None:
        shapes = {(weight.shape, weight.dtype): weight for weight in weights}
        self.whole = all(_rows_are_independent(weight) for weight in shapes.values())
        self.multiple = MULTIPLE if self.whole else BLOCK

    def padded(self, rows: int) -> int:
        """How many rows to compute where `rows` are needed."""
        return -(-rows // self.multiple) * self.multiple

    def linear(self, rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """[rows, in] and [out, in] to [rows, out]; the number of rows must be one that `padded` gave."""
        if self.whole:
            return F.linear(rows, weight, bias)
        return torch.cat([F.linear(block, weight, bias) for block in _blocks(rows, BLOCK)])

    def gelu_new(self, rows: torch.Tensor) -> torch.Tensor:
        """GPT-2's activation, the tanh form of Hendrycks & Gimpel 2016. [rows, inner] to the same."""
        if rows.device.type != "cpu":
            return F.gelu(rows, approximate="tanh")
        inner = rows.shape[1]
        count = max(1, ACTIVATION_ELEMENTS // inner) if inner % VECTOR == 0 else 1
        return torch.cat([F.gelu(block, approximate="tanh") for block in _blocks(rows, count)])


def _blocks(rows: torch.Tensor, count: int) -> list[torch.Tensor]:
    return [rows[start : start + count] for start in range(0, rows.shape[0], count)]


def _rows_are_independent(weight: torch.Tensor) -> bool:
    """Try it: products of few rows against the same rows among many."""
    if weight.device.type != "cpu":
        return False
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(BLOCK, weight.shape[1], generator=generator).to(weight.dtype)
    many = F.linear(rows, weight)
    counts = (MULTIPLE, 2 * MULTIPLE, 3 * MULTIPLE, 5 * MULTIPLE)
    return all(torch.equal(F.linear(rows[-count:].clone(), weight), many[-count:]) for count in counts)
