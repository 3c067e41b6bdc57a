"""Rows into the form that a product reads, and out of the form that it returns, in compiled loops.

8-bit activations have a scale of their own for each row, and float32 and bfloat16 have none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from worker.engine.compiled.compiling import inlined
from worker.engine.compiled.float_bits import float_of_rank, narrow, rank

ZERO = 128  # activations are stored as uint8: with int8 oneDNN has no fast kernel


class ProductArrays(NamedTuple):
    """`Products` of cpu/linear.py, as compiled code reads them."""

    values: Any  # [rows, width], float32, or uint16, which stands for bfloat16
    scales: Any  # [rows], float32, where values are still to be multiplied by them; else [0]
    shift: Any  # [width], float32, which is added then; else [0]


class ActivationArrays(NamedTuple):
    """`Activations` of cpu/linear.py, as compiled code writes them.

    Loops over threads take its arrays out first: numba drops what they write to a field of a named tuple.
    """

    values: Any  # [rows, width], float32, uint16, which stands for bfloat16, or uint8 around ZERO
    scales: Any  # [rows], float32, with uint8; else [0]


@inlined
def dequantise(numbers: Any, scales: Any, shift: Any, row: int) -> None:
    """Integer products of a row [width] to what they stand for, in place; others have no scales, and stay."""
    if scales.shape[0]:
        scale = scales[row]
        for i in range(len(numbers)):
            numbers[i] = numbers[i] * scale + shift[i]


@inlined
def largest_magnitude(numbers: Any) -> Any:
    """Never 0."""
    highest = rank(np.float32(1e-12))
    for i in range(len(numbers)):
        highest = max(highest, rank(abs(numbers[i])))
    return float_of_rank(highest)


@inlined
def quantise_row(numbers: Any, result: Any) -> Any:
    """To the nearest of 255 integers around ZERO; returns the scale, which is how far apart they lie."""
    largest = largest_magnitude(numbers)
    factor = np.float32(127) / largest
    for i in range(len(numbers)):
        # Adding 128.5 and truncating rounds to the nearest.
        result[i] = np.uint8(np.int32(numbers[i] * factor + np.float32(ZERO + 0.5)))
    return largest / np.float32(127)


@inlined
def quantise_key(numbers: Any, result: Any) -> Any:
    """The same around 0, as the cache keeps keys and values."""
    largest = largest_magnitude(numbers)
    factor = np.float32(127) / largest
    for i in range(len(numbers)):
        result[i] = np.int8(np.int32(numbers[i] * factor + np.float32(ZERO + 0.5)) - np.int32(ZERO))
    return largest / np.float32(127)


def store_row(numbers: Any, result: Any) -> Any:
    """Store float32 numbers [width] in the result's dtype; returns the row's scale, 1 where it has none."""
    raise NotImplementedError("compiled code only")


@overload(store_row, inline="always")  # type: ignore[untyped-decorator]
def _store_row(numbers: Any, result: Any) -> Callable[[Any, Any], Any]:
    def to_uint8(numbers: Any, result: Any) -> Any:
        return quantise_row(numbers, result)

    def to_int8(numbers: Any, result: Any) -> Any:
        return quantise_key(numbers, result)

    def to_float(numbers: Any, result: Any) -> Any:
        for i in range(len(numbers)):
            result[i] = narrow(numbers[i], result[0])
        return np.float32(1)

    return {types.uint8: to_uint8, types.int8: to_int8}.get(result.dtype, to_float)


@inlined
def store_scale(scales: Any, row: int, scale: Any) -> None:
    """Keep a row's scale where rows have scales."""
    if scales.shape[0]:
        scales[row] = scale
