"""Linear layers on a CPU, whose result for a row never depends on the rows beside it: batch invariance.

Weights are packed once for oneDNN. A product may round a row differently when the number of rows changes,
because another kernel is chosen: what is known here is how many rows a product must have to rule that out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F

from worker.engine.compiled.compiling import each_thread, threaded
from worker.engine.compiled.float_bits import as_array
from worker.engine.cpu.activation import TANH_GELU, activate
from worker.engine.cpu.quantise import ZERO, ActivationArrays, ProductArrays, store_row

MULTIPLES = (2, 8)
"""On x86 CPUs, rows in multiples of 8 come out alike whatever their number and the number of threads; with few
threads those in multiples of 2 do. (oneDNN's and MKL's products take other kernels for one row, or for 1 to 3 rows
left to a thread.) Fewer rows are padding where multiples are small: the first that holds is taken."""

BLOCK = 64
"""Where that does not hold, every product has exactly this many rows, so that no number can matter."""

TRIAL_ROWS = 448  # more than a step has on a CPU
EXPECTED_ROWS = 64  # what weights are packed for
LEAST_SCALE = 1e-12
CHUNK = 4096  # outputs of a large weight that are converted at once
NO_SCALES: Any = np.empty(0, np.float32)


def _no_scales() -> Any:
    return NO_SCALES


@dataclass(frozen=True, slots=True)
class Activations:
    """What a product reads: numbers as they are, or integers around ZERO and a scale for each row."""

    values: torch.Tensor  # [rows, in]: float32, bfloat16 or uint8
    scales: Any = field(default_factory=_no_scales)  # [rows], float32, with uint8; else [0]

    def chosen(self, rows: torch.Tensor) -> Activations:
        return Activations(self.values[rows], self.scales[rows.numpy()] if len(self.scales) else NO_SCALES)

    def first(self, count: int) -> Activations:
        return Activations(self.values[:count], self.scales[:count])

    @property
    def arrays(self) -> ActivationArrays:
        return ActivationArrays(as_array(self.values), self.scales)


@dataclass(frozen=True, slots=True)
class Products:
    """What a product returns: numbers as they are, or ones that are still to be multiplied by the scale of their row,
    before the shift is added. Whoever reads them does that in passing."""

    values: torch.Tensor  # [rows, out], float32 or bfloat16
    scales: Any = field(default_factory=_no_scales)  # [rows], float32, or [0]
    shift: Any = field(default_factory=_no_scales)  # [out], float32, or [0]

    def first(self, count: int) -> Products:
        return Products(self.values[:count], self.scales[:count], self.shift)

    @property
    def arrays(self) -> ProductArrays:
        return ProductArrays(as_array(self.values), self.scales, self.shift)


class Linear(Protocol):
    """[rows, in] to [rows, out]."""

    def __call__(self, rows: Activations) -> Products: ...

    def activated(self, rows: Activations) -> Activations:
        """The same with GPT-2's activation after it, as the next product reads it."""
        ...


def linear(weight: torch.Tensor, bias: torch.Tensor | None, dtype: str, threads: int) -> Linear:
    """A layer in the fastest form that this build of torch has.

    Args:
        weight: [out, in], float32.
        bias: [out], float32.
        dtype: "fp32", "bf16" or "int8".
        threads: how many share the work between products.
    """
    if dtype == "int8":
        return Int8Linear(weight, bias, threads)
    onednn: Any = torch.backends.mkldnn
    kind = PackedLinear if onednn.is_available() else UnpackedLinear
    return kind(weight, bias, torch.bfloat16 if dtype == "bf16" else torch.float32)


class PackedLinear:
    """oneDNN's product with the weight in the layout that its kernel reads, and GELU fused where wanted."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> None:
        """weight: [out, in], float32; bias: [out], float32."""
        ops: Any = torch.ops.mkldnn
        self._weight = ops._reorder_linear_weight(weight.to(dtype).contiguous(), EXPECTED_ROWS)
        self._bias = None if bias is None else bias.to(dtype)
        self._product = ops._linear_pointwise

    def __call__(self, rows: Activations) -> Products:
        return Products(self._product(rows.values, self._weight, self._bias, "none", [], ""))

    def activated(self, rows: Activations) -> Activations:
        return Activations(self._product(rows.values, self._weight, self._bias, "gelu", [], "tanh"))


class UnpackedLinear:
    """torch's own product, for builds of torch without oneDNN."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> None:
        self._weight, self._bias = weight.to(dtype), None if bias is None else bias.to(dtype)

    def __call__(self, rows: Activations) -> Products:
        return Products(F.linear(rows.values, self._weight, self._bias))

    def activated(self, rows: Activations) -> Activations:
        return Activations(F.gelu(self(rows).values, approximate="tanh"))


class Int8Linear:
    """8-bit weights, one scale for each output, and 8-bit activations, one scale for each row.

    Sums of products are integers, which do not round: a row cannot depend on its neighbours. A scale
    for the whole tensor, as dynamic quantisation usually has, would let them leak into each other.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, threads: int) -> None:
        ops: Any = torch.ops.onednn
        scales = (weight.abs().amax(dim=1) / 127).clamp_min(LEAST_SCALE)  # [out]
        quantised = torch.empty(weight.shape, dtype=torch.int8)
        for start in range(0, len(weight), CHUNK):  # the head's float32 copies would double the memory of loading
            part = slice(start, start + CHUNK)
            quantised[part] = torch.round(weight[part] / scales[part, None]).to(torch.int8)
        self._weight = ops.qlinear_prepack(quantised, None)
        self._scales, self._zeros = scales.float(), torch.zeros(len(scales), dtype=torch.int32)
        self._shift = (torch.zeros(len(scales)) if bias is None else bias.float()).numpy()
        self._product, self._threads = ops.qlinear_pointwise, threads

    def __call__(self, rows: Activations) -> Products:
        sums = self._product(
            rows.values, 1.0, ZERO, self._weight, self._scales, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return Products(sums, rows.scales, self._shift)

    def activated(self, rows: Activations) -> Activations:
        products = self(rows)
        result = empty_activations(products.values.shape, "int8")
        activate(products.arrays, TANH_GELU, self._threads, result.arrays)
        return result


class BlockedLinear:
    """A layer whose products all have BLOCK rows."""

    def __init__(self, layer: Linear) -> None:
        self._layer = layer

    def __call__(self, rows: Activations) -> Products:
        blocks = [self._layer(block) for block in _blocks(rows)]
        scales = np.concatenate([block.scales for block in blocks])
        return Products(torch.cat([block.values for block in blocks]), scales, blocks[0].shift)

    def activated(self, rows: Activations) -> Activations:
        blocks = [self._layer.activated(block) for block in _blocks(rows)]
        return Activations(
            torch.cat([block.values for block in blocks]), np.concatenate([block.scales for block in blocks])
        )


def _blocks(rows: Activations) -> list[Activations]:
    starts = range(0, max(len(rows.values), 1), BLOCK)  # one block without rows where there are none
    return [Activations(rows.values[at : at + BLOCK], rows.scales[at : at + BLOCK]) for at in starts]


def empty_activations(shape: Sequence[int], dtype: str) -> Activations:
    """What a product of that dtype reads, yet to be filled; shape: [rows, in]."""
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.uint8}[dtype]
    scales = np.zeros(shape[0], np.float32) if dtype == "int8" else NO_SCALES
    return Activations(torch.empty(*shape, dtype=kind), scales)


def activations(rows: torch.Tensor, dtype: str, threads: int) -> Activations:
    """Rows [rows, in], float32, as a product of that dtype reads them."""
    if dtype != "int8":
        return Activations(rows.to(torch.bfloat16) if dtype == "bf16" else rows)
    result = empty_activations(rows.shape, dtype)
    quantise(rows.numpy(), threads, result.arrays)
    return result


def row_multiple(product: Callable[[Activations], Products | Activations], rows: Activations) -> int | None:
    """The least of MULTIPLES in which rows come out alike, however many they are; None where none does.

    Found by trying: products of few of these rows against the same rows among all of them.
    """
    many = product(rows).values

    def alike(count: int) -> bool:
        few = Activations(rows.values[-count:].clone(), rows.scales[-count:])
        return torch.equal(product(few).values, many[-count:])

    for multiple in MULTIPLES:
        if all(alike(count) for count in _row_counts(multiple)):
            return multiple
    return None


def trial_rows(width: int, dtype: str, threads: int) -> Activations:
    """Rows to try a product with."""
    return activations(torch.randn(TRIAL_ROWS, width, generator=torch.Generator().manual_seed(0)), dtype, threads)


def _row_counts(multiple: int) -> Sequence[int]:
    """Numbers of rows to try: all small ones, since a thread gets fewer still."""
    few = [multiple * times for times in (*range(1, 17), 21, 29)]
    return [*few, BLOCK + multiple, 2 * BLOCK - multiple, 4 * BLOCK + multiple, TRIAL_ROWS - multiple]


@threaded
def quantise(rows: Any, threads: int, quantised: Any) -> None:
    """Rows [rows, in], float32, to 8-bit ActivationArrays."""
    values, scales = quantised.values, quantised.scales
    count = rows.shape[0]
    for thread in each_thread(threads):
        for row in range(count * thread // threads, count * (thread + 1) // threads):
            scales[row] = store_row(rows[row], values[row])
