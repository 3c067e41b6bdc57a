"""Norms and activations, row by row alike whatever their number: in torch a tensor's last numbers round otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np

from worker.engine.compiled.compiling import each_thread, inlined, threaded
from worker.engine.compiled.float_bits import exponential, narrow, widen
from worker.engine.cpu.linear import gelu_new
from worker.engine.cpu.quantise import dequantise

EXP_MOST = np.float32(80)
HALF_ROOT = np.float32(0.7071067811865476)
ERF_P = np.float32(0.3275911)
ERF = tuple(np.float32(a) for a in (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429))
E1, E2, E3, E4, E5 = ERF


@threaded
def rms_norm(rows: Any, weight: Any, epsilon: Any, threads: int, normed: Any) -> None:
    """Root mean square norm (Zhang & Sennrich 2019).

    Args:
        rows: [rows, width], float32, or uint16, which stands for bfloat16.
        weight: [width], float32.
        epsilon: float32.
        threads: how many share the rows.
        normed: as rows; the result.
    """
    count, width = rows.shape
    for thread in each_thread(threads):
        for row in range(count * thread // threads, count * (thread + 1) // threads):
            squares = np.float32(0)
            for i in range(width):
                squares += widen(rows[row, i]) * widen(rows[row, i])
            factor = np.float32(1) / np.sqrt(squares / np.float32(width) + epsilon)
            for i in range(width):
                normed[row, i] = narrow(widen(rows[row, i]) * factor * weight[i], normed[row, 0])


@threaded
def sigmoid_linear(rows: Any, factor: Any, threads: int, activated: Any) -> None:
    """x * sigmoid(factor * x): SiLU with 1, the quick form of GELU with 1.702. Arguments as in `rms_norm`."""
    count, width = rows.shape
    for thread in each_thread(threads):
        for row in range(count * thread // threads, count * (thread + 1) // threads):
            for i in range(width):
                number = widen(rows[row, i])
                power = exponential(min(-factor * number, EXP_MOST))
                activated[row, i] = narrow(number / (np.float32(1) + power), activated[row, 0])


@threaded
def tanh_gelu(rows: Any, threads: int, activated: Any) -> None:
    """GELU in its tanh form (Hendrycks & Gimpel 2016). Arguments as in `rms_norm`."""
    count, width = rows.shape
    for thread in each_thread(threads):
        for row in range(count * thread // threads, count * (thread + 1) // threads):
            for i in range(width):
                activated[row, i] = narrow(gelu_new(widen(rows[row, i])), activated[row, 0])


@threaded
def erf_gelu(rows: Any, threads: int, activated: Any) -> None:
    """GELU by the error function. Arguments as in `rms_norm`."""
    count, width = rows.shape
    for thread in each_thread(threads):
        for row in range(count * thread // threads, count * (thread + 1) // threads):
            for i in range(width):
                number = widen(rows[row, i])
                cumulative = np.float32(0.5) + np.float32(0.5) * erf(number * HALF_ROOT)
                activated[row, i] = narrow(number * cumulative, activated[row, 0])


@inlined
def erf(number: Any) -> Any:
    """The error function to 1.5e-7 (Abramowitz & Stegun 1964, 7.1.26)."""
    size = abs(number)
    t = np.float32(1) / (np.float32(1) + ERF_P * size)
    series = ((((E5 * t + E4) * t + E3) * t + E2) * t + E1) * t
    result = np.float32(1) - series * exponential(-size * size)
    return result if number >= 0 else -result


@threaded
def dequantise_rows(products: Any, threads: int) -> None:
    """ProductArrays that have scales to what they stand for, in place."""
    sums, factors, shift = products.values, products.scales, products.shift
    count = sums.shape[0]
    for thread in each_thread(threads):
        for row in range(count * thread // threads, count * (thread + 1) // threads):
            dequantise(sums[row], factors, shift, row)
