"""Linear layers on a CPU, whose result for a row never depends on the rows beside it: batch invariance.

Weights are packed once for oneDNN. A product may round a row differently when the number of rows changes,
because another kernel is chosen: what is known here is how many rows a product must have to rule that out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F

from worker.engine.compiling import each_thread, inlined, threaded
from worker.engine.floats import as_array, exponential, float_of_rank, rank, widen

MULTIPLE = 8
"""On x86 CPUs, rows in multiples of 8 come out alike whatever their number and the number of threads.
(oneDNN's and MKL's float32 products take other kernels for one row, or for 1 to 3 rows left to a thread.)"""

BLOCK = 64
"""Where that does not hold, every product has exactly this many rows, so that no number can matter."""

EXPECTED_ROWS = 64  # what weights are packed for
LEAST_SCALE = 1e-12
PART = 4096


class Linear(Protocol):
    """[rows, in] to [rows, out]. Rows are float32 or bfloat16, in the dtype that the model computes in."""

    def __call__(self, rows: torch.Tensor) -> torch.Tensor: ...


def linear(weight: torch.Tensor, bias: torch.Tensor | None, dtype: str, gelu: bool, threads: int) -> Linear:
    """A layer in the fastest form that this build of torch has.

    Args:
        weight: [out, in], float32.
        bias: [out], float32.
        dtype: "fp32", "bf16" or "int8".
        gelu: whether GPT-2's activation follows.
    """
    if dtype == "int8":
        return Int8(weight, bias, gelu, threads)
    onednn: Any = torch.backends.mkldnn
    kind = Packed if onednn.is_available() else Plain
    return kind(weight, bias, torch.bfloat16 if dtype == "bf16" else torch.float32, gelu)


class Packed:
    """oneDNN's product with the weight in the layout that its kernel reads, and GELU fused where wanted."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype, gelu: bool) -> None:
        """weight: [out, in], float32; bias: [out], float32."""
        ops: Any = torch.ops.mkldnn
        self._weight = ops._reorder_linear_weight(weight.to(dtype).contiguous(), EXPECTED_ROWS)
        self._bias = None if bias is None else bias.to(dtype)
        self._activation: tuple[Any, ...] = ("gelu", [], "tanh") if gelu else ("none", [], "")
        self._product = ops._linear_pointwise

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self._product(rows, self._weight, self._bias, *self._activation)
        return result


class Plain:
    """torch's own product, for builds of torch without oneDNN."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype, gelu: bool) -> None:
        self._weight, self._bias = weight.to(dtype), None if bias is None else bias.to(dtype)
        self._gelu = gelu

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        product = F.linear(rows, self._weight, self._bias)
        return F.gelu(product, approximate="tanh") if self._gelu else product


class Int8:
    """8-bit weights, one scale for each output, and 8-bit activations, one scale for each row.

    Sums of products are whole numbers, which do not round: a row cannot depend on its neighbours. A scale
    for the whole tensor, as dynamic quantisation usually has, would let them leak into each other.
    """

    ZERO = 128  # activations are stored as uint8: with int8 oneDNN has no fast kernel

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, gelu: bool, threads: int) -> None:
        ops: Any = torch.ops.onednn
        scales = (weight.abs().amax(dim=1) / 127).clamp_min(LEAST_SCALE)  # [out]
        whole = torch.empty(weight.shape, dtype=torch.int8)
        for start in range(0, len(weight), PART):  # the head's float32 copies would double the memory of loading
            part = slice(start, start + PART)
            whole[part] = torch.round(weight[part] / scales[part, None]).to(torch.int8)
        self._weight = ops.qlinear_prepack(whole, None)
        self._scales, self._zeros = scales.float(), torch.zeros(len(scales), dtype=torch.int32)
        self._bias = (torch.zeros(len(scales)) if bias is None else bias.float()).numpy()
        self._product, self._gelu, self._threads = ops.qlinear_pointwise, gelu, threads

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        whole = torch.empty(rows.shape, dtype=torch.uint8)
        scales = np.empty(rows.shape[0], np.float32)
        quantise(as_array(rows), self._threads, whole.numpy(), scales)
        result: torch.Tensor = self._product(
            whole, 1.0, self.ZERO, self._weight, self._scales, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        finish(result.numpy(), scales, self._bias, self._gelu, self._threads)
        return result


class Blocked:
    """A layer whose products all have BLOCK rows."""

    def __init__(self, layer: Linear) -> None:
        self._layer = layer

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        blocks: Any = torch.split(rows, BLOCK)
        return torch.cat([self._layer(block) for block in blocks])


def rows_are_independent(layer: Linear, inputs: int, dtype: torch.dtype) -> bool:
    """Try it: products of few rows against the same rows among many."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(BLOCK * 4, inputs, generator=generator).to(dtype)
    many = layer(rows)
    return all(torch.equal(layer(rows[-count:].clone()), many[-count:]) for count in _counts())


def _counts() -> Sequence[int]:
    return (MULTIPLE, 2 * MULTIPLE, 3 * MULTIPLE, 5 * MULTIPLE, BLOCK, BLOCK + MULTIPLE, 2 * BLOCK)


@threaded
def quantise(rows: Any, threads: int, whole: Any, scales: Any) -> None:
    """Rows [rows, in] to 8 bits: whole [rows, in], uint8 around 128, and scales [rows], float32."""
    count, width = rows.shape
    for thread in each_thread(threads):
        for row in range(count * thread // threads, count * (thread + 1) // threads):
            numbers, result = rows[row], whole[row]
            highest = rank(np.float32(1e-12))
            for i in range(width):
                highest = max(highest, rank(abs(widen(numbers[i]))))
            largest = float_of_rank(highest)
            scales[row] = largest / np.float32(127)
            factor = np.float32(127) / largest
            for i in range(width):
                # Adding 128.5 and cutting rounds to the nearest.
                result[i] = np.uint8(np.int32(widen(numbers[i]) * factor + np.float32(128.5)))


@inlined
def gelu_new(number: Any) -> Any:
    """GPT-2's activation, the tanh form of Hendrycks & Gimpel 2016."""
    inner = np.float32(0.7978845608028654) * (number + np.float32(0.044715) * number * number * number)
    # tanh(x) = 1 - 2 / (1 + exp(2 x)), and so half of (1 + tanh(x)) is 1 / (1 + exp(-2 x)).
    power = exponential(min(np.float32(-2) * inner, np.float32(80)))
    return number / (np.float32(1) + power)


@threaded
def finish(products: Any, scales: Any, bias: Any, gelu: bool, threads: int) -> None:
    """Scale products [rows, out] by row, add the bias [out], and apply GELU where wanted, in place."""
    count, width = products.shape
    for thread in each_thread(threads):
        for row in range(count * thread // threads, count * (thread + 1) // threads):
            numbers, scale = products[row], scales[row]
            for i in range(width):
                numbers[i] = numbers[i] * scale + bias[i]
            if gelu:
                for i in range(width):
                    numbers[i] = gelu_new(numbers[i])
