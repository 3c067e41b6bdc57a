"""Numbers inside compiled loops: bfloat16 as the upper half of a float32, and a fast exponential.

Compiled with numba for the machine at hand, since torch has no kernels for the loops of this engine. The same
input gives the same bits wherever it stands in an array: nothing here depends on place or length.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from worker.engine.compiled.compiling import inlined

LOG2_E = np.float32(1.4426950408889634)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
EXP_LEAST = np.float32(-87.0)  # below it a float32 exponential is subnormal: it counts as 0
EXP_MOST = np.float32(80.0)  # what larger numbers count as, where a finite result is wanted
ONE_HALF = np.float32(0.5)
POLYNOMIAL = tuple(
    np.float32(value)
    for value in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
)
P0, P1, P2, P3, P4, P5 = POLYNOMIAL


def as_array(tensor: torch.Tensor) -> Any:
    """The same memory as a numpy array; bfloat16, which numpy does not have, as uint16."""
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


@intrinsic  # type: ignore[untyped-decorator]
def float_of_bits(_context: Any, _bits: Any) -> tuple[Any, Callable[..., Any]]:
    """The float32 with these 32 bits."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate


@intrinsic  # type: ignore[untyped-decorator]
def bits_of_float(_context: Any, _number: Any) -> tuple[Any, Callable[..., Any]]:
    """The 32 bits of a float32."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(types.float32), generate


def widen(number: Any) -> Any:
    """A float32 from a float32, from a bfloat16's 16 bits, or from an 8-bit integer."""
    raise NotImplementedError("compiled code only")


@overload(widen, inline="always")  # type: ignore[untyped-decorator]
def _widen(number: Any) -> Callable[[Any], Any]:
    def from_bfloat16(number: Any) -> Any:
        return float_of_bits(np.uint32(number) << np.uint32(16))

    def from_int8(number: Any) -> Any:
        return np.float32(number)

    def from_float32(number: Any) -> Any:
        return number

    return {types.uint16: from_bfloat16, types.int8: from_int8}.get(number, from_float32)


def narrow(number: Any, like: Any) -> Any:
    """A float32 as it is stored in an array of numbers such as `like`; bfloat16 is rounded to the nearest, to even."""
    raise NotImplementedError("compiled code only")


@overload(narrow, inline="always")  # type: ignore[untyped-decorator]
def _narrow(number: Any, like: Any) -> Callable[[Any, Any], Any]:
    def to_bfloat16(number: Any, like: Any) -> Any:
        bits = bits_of_float(number)
        to_even = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        return np.uint16((bits + to_even) >> np.uint32(16))

    def to_float32(number: Any, like: Any) -> Any:
        return number

    return to_bfloat16 if like == types.uint16 else to_float32


@inlined
def rank(number: Any) -> Any:
    """An int32 that is ordered as float32 numbers are: compiled code compares many integers at once, not floats."""
    bits = np.int32(bits_of_float(number))
    return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@inlined
def float_of_rank(number: Any) -> Any:
    """The float32 that has this rank."""
    return float_of_bits(np.uint32(number ^ ((number >> np.int32(31)) & np.int32(0x7FFFFFFF))))


@inlined
def exponential(number: Any) -> Any:
    """exp of a float32 from -87 to 88, to about one unit in the last place; below -87 it is 0.

    Cephes' expf (Moshier 1992): reduction by ln 2, then a polynomial of degree 7.
    """
    clamped = max(number, EXP_LEAST)
    power = np.floor(clamped * LOG2_E + ONE_HALF)
    remainder = clamped - power * LN2_HIGH - power * LN2_LOW
    series = P0
    series = series * remainder + P1
    series = series * remainder + P2
    series = series * remainder + P3
    series = series * remainder + P4
    series = series * remainder + P5
    series = series * remainder * remainder + remainder + np.float32(1.0)
    scale = float_of_bits(np.uint32((np.int32(power) + np.int32(127)) << np.int32(23)))
    return series * scale if number > EXP_LEAST else np.float32(0.0)
