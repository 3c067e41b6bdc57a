"""Rows in the form in which a product is given them, and out of the form in which it makes them, in compiled loops.

8-bit activations have a scale of their own for each row, and float32 and bfloat16 have none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from worker.engine.compiled.compiling import inlined
from worker.engine.compiled.float_bits import float_of_rank, narrow, rank

ZERO = 128  # activations are stored as uint8: with int8 oneDNN has no fast kernel


@inlined
def finish(numbers: Any, factors: Any, shift: Any, row: int) -> None:
    """Products of whole numbers [width] to what they stand for, in place; others have no factors, and stay."""
    if factors.shape[0]:
        factor = factors[row]
        for i in range(len(numbers)):
            numbers[i] = numbers[i] * factor + shift[i]


@inlined
def largest_of(numbers: Any) -> Any:
    """The largest of their absolute values; never 0."""
    highest = rank(np.float32(1e-12))
    for i in range(len(numbers)):
        highest = max(highest, rank(abs(numbers[i])))
    return float_of_rank(highest)


@inlined
def quantise_row(numbers: Any, result: Any) -> Any:
    """To the nearest of 255 whole numbers around ZERO; returns the scale, which is their distance."""
    largest = largest_of(numbers)
    factor = np.float32(127) / largest
    for i in range(len(numbers)):
        # Adding 128.5 and cutting rounds to the nearest.
        result[i] = np.uint8(np.int32(numbers[i] * factor + np.float32(ZERO + 0.5)))
    return largest / np.float32(127)


@inlined
def quantise_key(numbers: Any, result: Any) -> Any:
    """The same around 0, as the cache keeps keys and values."""
    largest = largest_of(numbers)
    factor = np.float32(127) / largest
    for i in range(len(numbers)):
        result[i] = np.int8(np.int32(numbers[i] * factor + np.float32(ZERO + 0.5)) - np.int32(ZERO))
    return largest / np.float32(127)


def put(numbers: Any, result: Any) -> Any:
    """Store float32 numbers [width] as the result's dtype has them; returns the row's scale, 1 where there is none."""
    raise NotImplementedError("compiled code only")


@overload(put, inline="always")  # type: ignore[untyped-decorator]
def _put(numbers: Any, result: Any) -> Callable[[Any, Any], Any]:
    def whole(numbers: Any, result: Any) -> Any:
        return quantise_row(numbers, result)

    def signed(numbers: Any, result: Any) -> Any:
        return quantise_key(numbers, result)

    def floating(numbers: Any, result: Any) -> Any:
        for i in range(len(numbers)):
            result[i] = narrow(numbers[i], result[0])
        return np.float32(1)

    return {types.uint8: whole, types.int8: signed}.get(result.dtype, floating)


@inlined
def note(scales: Any, row: int, scale: Any) -> None:
    """Keep a row's scale where rows have any."""
    if scales.shape[0]:
        scales[row] = scale
