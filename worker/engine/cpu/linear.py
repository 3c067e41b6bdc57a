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

from worker.engine.compiled.compiling import each_thread, inlined, threaded
from worker.engine.compiled.float_bits import as_array, exponential
from worker.engine.cpu.quantise import ZERO, finish, put

MULTIPLES = (2, 8)
"""On x86 CPUs, rows in multiples of 8 come out alike whatever their number and the number of threads; with few
threads those in multiples of 2 do. (oneDNN's and MKL's products take other kernels for one row, or for 1 to 3 rows
left to a thread.) Fewer rows are padding where multiples are small: the first that holds is taken."""

BLOCK = 64
"""Where that does not hold, every product has exactly this many rows, so that no number can matter."""

TRIED = 448  # rows that a trial has: more than a step has on a CPU
EXPECTED_ROWS = 64  # what weights are packed for
LEAST_SCALE = 1e-12
PART = 4096
NONE: Any = np.empty(0, np.float32)  # in the place of scales, where numbers have none


def _none() -> Any:
    return NONE


@dataclass(frozen=True, slots=True)
class Given:
    """What a product is given: numbers as they are, or whole numbers around ZERO and a scale for each row."""

    values: torch.Tensor  # [rows, in]: float32, bfloat16 or uint8
    scales: Any = field(default_factory=_none)  # [rows], float32, with uint8; else [0]

    def chosen(self, rows: torch.Tensor) -> Given:
        return Given(self.values[rows], self.scales[rows.numpy()] if len(self.scales) else NONE)

    def first(self, count: int) -> Given:
        return Given(self.values[:count], self.scales[:count])


@dataclass(frozen=True, slots=True)
class Made:
    """What a product makes: numbers as they are, or ones that are still to be multiplied by the scale of their row,
    before the shift is added. Whoever reads them does that in passing."""

    values: torch.Tensor  # [rows, out], float32 or bfloat16
    scales: Any = field(default_factory=_none)  # [rows], float32, or [0]
    shift: Any = field(default_factory=_none)  # [out], float32, or [0]

    def first(self, count: int) -> Made:
        return Made(self.values[:count], self.scales[:count], self.shift)

    @property
    def parts(self) -> tuple[Any, Any, Any]:
        """For compiled code."""
        return as_array(self.values), self.scales, self.shift


class Linear(Protocol):
    """[rows, in] to [rows, out]."""

    def __call__(self, rows: Given) -> Made: ...

    def activated(self, rows: Given) -> Given:
        """The same with GPT-2's activation after it, as the next product is given it."""
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
        return Int8(weight, bias, threads)
    onednn: Any = torch.backends.mkldnn
    kind = Packed if onednn.is_available() else Plain
    return kind(weight, bias, torch.bfloat16 if dtype == "bf16" else torch.float32)


class Packed:
    """oneDNN's product with the weight in the layout that its kernel reads, and GELU fused where wanted."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> None:
        """weight: [out, in], float32; bias: [out], float32."""
        ops: Any = torch.ops.mkldnn
        self._weight = ops._reorder_linear_weight(weight.to(dtype).contiguous(), EXPECTED_ROWS)
        self._bias = None if bias is None else bias.to(dtype)
        self._product = ops._linear_pointwise

    def __call__(self, rows: Given) -> Made:
        return Made(self._product(rows.values, self._weight, self._bias, "none", [], ""))

    def activated(self, rows: Given) -> Given:
        return Given(self._product(rows.values, self._weight, self._bias, "gelu", [], "tanh"))


class Plain:
    """torch's own product, for builds of torch without oneDNN."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> None:
        self._weight, self._bias = weight.to(dtype), None if bias is None else bias.to(dtype)

    def __call__(self, rows: Given) -> Made:
        return Made(F.linear(rows.values, self._weight, self._bias))

    def activated(self, rows: Given) -> Given:
        return Given(F.gelu(self(rows).values, approximate="tanh"))


class Int8:
    """8-bit weights, one scale for each output, and 8-bit activations, one scale for each row.

    Sums of products are whole numbers, which do not round: a row cannot depend on its neighbours. A scale
    for the whole tensor, as dynamic quantisation usually has, would let them leak into each other.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, threads: int) -> None:
        ops: Any = torch.ops.onednn
        scales = (weight.abs().amax(dim=1) / 127).clamp_min(LEAST_SCALE)  # [out]
        whole = torch.empty(weight.shape, dtype=torch.int8)
        for start in range(0, len(weight), PART):  # the head's float32 copies would double the memory of loading
            part = slice(start, start + PART)
            whole[part] = torch.round(weight[part] / scales[part, None]).to(torch.int8)
        self._weight = ops.qlinear_prepack(whole, None)
        self._scales, self._zeros = scales.float(), torch.zeros(len(scales), dtype=torch.int32)
        self._shift = (torch.zeros(len(scales)) if bias is None else bias.float()).numpy()
        self._product, self._threads = ops.qlinear_pointwise, threads

    def __call__(self, rows: Given) -> Made:
        sums = self._product(
            rows.values, 1.0, ZERO, self._weight, self._scales, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return Made(sums, rows.scales, self._shift)

    def activated(self, rows: Given) -> Given:
        made = self(rows)
        result = room(made.values.shape, "int8")
        activate(*made.parts, self._threads, result.values.numpy(), result.scales)
        return result


class Blocked:
    """A layer whose products all have BLOCK rows."""

    def __init__(self, layer: Linear) -> None:
        self._layer = layer

    def __call__(self, rows: Given) -> Made:
        made = [self._layer(block) for block in _blocks(rows)]
        scales = np.concatenate([part.scales for part in made])
        return Made(torch.cat([part.values for part in made]), scales, made[0].shift)

    def activated(self, rows: Given) -> Given:
        made = [self._layer.activated(block) for block in _blocks(rows)]
        return Given(torch.cat([part.values for part in made]), np.concatenate([part.scales for part in made]))


def _blocks(rows: Given) -> list[Given]:
    starts = range(0, max(len(rows.values), 1), BLOCK)  # one block without rows where there are none
    return [Given(rows.values[at : at + BLOCK], rows.scales[at : at + BLOCK]) for at in starts]


def room(shape: Sequence[int], dtype: str) -> Given:
    """Room for what a product of that dtype is given; shape: [rows, in]."""
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.uint8}[dtype]
    return Given(torch.zeros(*shape, dtype=kind), np.zeros(shape[0], np.float32) if dtype == "int8" else NONE)


def given(rows: torch.Tensor, dtype: str, threads: int) -> Given:
    """Rows [rows, in], float32, as a product of that dtype is given them."""
    if dtype != "int8":
        return Given(rows.to(torch.bfloat16) if dtype == "bf16" else rows)
    result = room(rows.shape, dtype)
    quantise(rows.numpy(), threads, result.values.numpy(), result.scales)
    return result


def row_multiple(product: Callable[[Given], Made | Given], rows: Given) -> int | None:
    """The least of MULTIPLES in which rows come out alike, however many they are; None where none does.

    It is tried: products of few of these rows against the same rows among all of them.
    """
    many = product(rows).values

    def alike(count: int) -> bool:
        few = Given(rows.values[-count:].clone(), rows.scales[-count:])
        return torch.equal(product(few).values, many[-count:])

    for multiple in MULTIPLES:
        if all(alike(count) for count in _counts(multiple)):
            return multiple
    return None


def trial(width: int, dtype: str, threads: int) -> Given:
    """Rows to try a product with."""
    return given(torch.randn(TRIED, width, generator=torch.Generator().manual_seed(0)), dtype, threads)


def _counts(multiple: int) -> Sequence[int]:
    """Numbers of rows, the small ones all, since a thread gets fewer still."""
    few = [multiple * times for times in (*range(1, 17), 21, 29)]
    return [*few, BLOCK + multiple, 2 * BLOCK - multiple, 4 * BLOCK + multiple, TRIED - multiple]


@threaded
def quantise(rows: Any, threads: int, whole: Any, scales: Any) -> None:
    """Rows [rows, in], float32, to 8 bits: whole [rows, in], uint8 around ZERO, and scales [rows], float32."""
    count = rows.shape[0]
    for thread in each_thread(threads):
        for row in range(count * thread // threads, count * (thread + 1) // threads):
            scales[row] = put(rows[row], whole[row])


@inlined
def gelu_new(number: Any) -> Any:
    """GPT-2's activation, the tanh form of Hendrycks & Gimpel 2016."""
    inner = np.float32(0.7978845608028654) * (number + np.float32(0.044715) * number * number * number)
    # tanh(x) = 1 - 2 / (1 + exp(2 x)), and so half of (1 + tanh(x)) is 1 / (1 + exp(-2 x)).
    power = exponential(min(np.float32(-2) * inner, np.float32(80)))
    return number / (np.float32(1) + power)


@threaded
def activate(products: Any, factors: Any, shift: Any, threads: int, whole: Any, scales: Any) -> None:
    """Finish products [rows, width], apply GELU, and quantise what comes out; products are changed."""
    count, width = products.shape
    for thread in each_thread(threads):
        for row in range(count * thread // threads, count * (thread + 1) // threads):
            numbers = products[row]
            finish(numbers, factors, shift, row)
            for i in range(width):
                numbers[i] = gelu_new(numbers[i])
            scales[row] = put(numbers, whole[row])
