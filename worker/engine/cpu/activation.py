"""The functions between a model's linear layers, row by row alike whatever their number.

In torch a tensor's last numbers round otherwise. These take a product's result as it is and leave what the next product
reads, so that no number is touched twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from worker.engine.compiled.compiling import each_thread, inlined, threaded
from worker.engine.compiled.float_bits import EXP_MOST, exponential, widen
from worker.engine.cpu.quantise import dequantise, store_row, store_scale

SILU, QUICK_GELU, TANH_GELU, ERF_GELU = range(4)
"""SiLU, and GELU (Hendrycks & Gimpel 2016) as x * sigmoid(1.702 x), in its tanh form and by the error function."""

QUICK = np.float32(1.702)
ROOT, CUBE = np.float32(0.7978845608028654), np.float32(0.044715)
HALF_ROOT = np.float32(0.7071067811865476)
ERF_P = np.float32(0.3275911)
ERF = tuple(np.float32(a) for a in (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429))
E1, E2, E3, E4, E5 = ERF


@inlined
def sigmoid_of_minus(number: Any) -> Any:
    """1 / (1 + exp(number))."""
    return np.float32(1) / (np.float32(1) + exponential(min(number, EXP_MOST)))


@inlined
def erf(number: Any) -> Any:
    """The error function to 1.5e-7 (Abramowitz & Stegun 1964, 7.1.26)."""
    size = abs(number)
    t = np.float32(1) / (np.float32(1) + ERF_P * size)
    series = ((((E5 * t + E4) * t + E3) * t + E2) * t + E1) * t
    result = np.float32(1) - series * exponential(-size * size)
    return result if number >= 0 else -result


@inlined
def apply(kind: int, numbers: Any, result: Any) -> None:
    """The first numbers of a row, as many as `result` has, to float32."""
    if kind == SILU:
        for i in range(len(result)):
            number = widen(numbers[i])
            result[i] = number * sigmoid_of_minus(-number)
    elif kind == QUICK_GELU:
        for i in range(len(result)):
            number = widen(numbers[i])
            result[i] = number * sigmoid_of_minus(-QUICK * number)
    elif kind == TANH_GELU:  # tanh(x) = 1 - 2 / (1 + exp(2 x)), so half of (1 + tanh(x)) is 1 / (1 + exp(-2 x))
        for i in range(len(result)):
            number = widen(numbers[i])
            inner = ROOT * (number + CUBE * number * number * number)
            result[i] = number * sigmoid_of_minus(np.float32(-2) * inner)
    else:
        for i in range(len(result)):
            number = widen(numbers[i])
            result[i] = number * (np.float32(0.5) + np.float32(0.5) * erf(number * HALF_ROOT))


@threaded
def activate(products: Any, kind: int, threads: int, activated: Any) -> None:
    """
    Args:
        products: ProductArrays, [rows, width], or [rows, 2 * width]: the second half multiplies the activated first
            (gated linear units, Shazeer 2020). Dequantised in place.
        kind: SILU to ERF_GELU.
        threads: how many share the rows.
        activated: ActivationArrays, [rows, width]: the result.
    """
    sums, factors, shift = products.values, products.scales, products.shift
    values, scales = activated.values, activated.scales
    count, width = values.shape
    for thread in each_thread(threads):
        result = np.empty(width, np.float32)
        for row in range(count * thread // threads, count * (thread + 1) // threads):
            numbers = sums[row]
            dequantise(numbers, factors, shift, row)
            apply(kind, numbers, result)
            if sums.shape[1] > width:
                for i in range(width):
                    result[i] *= widen(numbers[width + i])
            store_scale(scales, row, store_row(result, values[row]))
