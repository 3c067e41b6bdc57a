"""Loops over rows, each alike whatever their number: in torch a tensor's last numbers round otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from worker.engine.compiled.compiling import each_thread, threaded
from worker.engine.compiled.float_bits import narrow, widen
from worker.engine.cpu.linear import Products
from worker.engine.cpu.quantise import dequantise


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
def dequantise_rows(products: Any, threads: int) -> None:
    """ProductArrays that have scales to what they stand for, in place."""
    sums, factors, shift = products.values, products.scales, products.shift
    count = sums.shape[0]
    for thread in each_thread(threads):
        for row in range(count * thread // threads, count * (thread + 1) // threads):
            dequantise(sums[row], factors, shift, row)


def as_numbers(products: Products, threads: int) -> torch.Tensor:
    """What products stand for, in place."""
    if len(products.scales):
        dequantise_rows(products.arrays, threads)
    return products.values
