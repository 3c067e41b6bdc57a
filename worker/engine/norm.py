"""Layer norm (Ba et al. 2016) on a CPU, with the residual addition before it: one pass over a row."""

from __future__ import annotations

from typing import Any

import numpy as np

from worker.engine.compiling import compiled, each_thread, threaded
from worker.engine.floats import narrow, widen


@threaded
def add_and_norm(hidden: Any, addition: Any, weight: Any, bias: Any, epsilon: Any, threads: int, normed: Any) -> None:
    """Add to the residual stream, and norm the sum.

    Args:
        hidden: [rows, width], float32; changed in place.
        addition: [rows, width], or [0, width] to add nothing.
        weight, bias: [width], float32.
        threads: how many share the rows.
        normed: [rows, width]: the result.

    Numbers of `addition` and `normed` are float32, or uint16, which stands for bfloat16.
    """
    rows, width = hidden.shape
    for thread in each_thread(threads):
        for row in range(rows * thread // threads, rows * (thread + 1) // threads):
            stream, result = hidden[row], normed[row]
            if addition.shape[0]:
                added = addition[row]
                for i in range(width):
                    stream[i] += widen(added[i])
            total = np.float32(0)
            for i in range(width):
                total += stream[i]
            mean = total / np.float32(width)
            squares = np.float32(0)
            for i in range(width):
                squares += (stream[i] - mean) * (stream[i] - mean)
            factor = np.float32(1) / np.sqrt(squares / np.float32(width) + epsilon)
            for i in range(width):
                result[i] = narrow((stream[i] - mean) * factor * weight[i] + bias[i], normed[0, 0])


@compiled
def products(rows: Any, vector: Any, results: Any) -> None:
    """The scalar product of each of rows [rows, width] with a vector [width], to results [rows]; float32."""
    for row in range(rows.shape[0]):
        total = np.float32(0)
        for i in range(rows.shape[1]):
            total += rows[row, i] * vector[i]
        results[row] = total
