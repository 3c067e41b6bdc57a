"""The residual stream on a CPU: its beginning, and layer norm (Ba et al. 2016) with the addition before it."""

from __future__ import annotations

from typing import Any

import numpy as np

from worker.engine.compiled.compiling import compiled, each_thread, threaded
from worker.engine.compiled.float_bits import widen
from worker.engine.cpu.quantise import note, put


@threaded
def add_and_norm(
    hidden: Any,
    addition: Any,
    factors: Any,
    shift: Any,
    weight: Any,
    bias: Any,
    epsilon: Any,
    threads: int,
    normed: Any,
    scales: Any,
) -> None:
    """Add to the residual stream, and norm the sum.

    Args:
        hidden: [rows, width], float32; changed in place.
        addition: [rows, width], or [0, width] to add nothing.
        factors, shift: the addition's, where it is a product of whole numbers; see worker.engine.cpu.quantise.
        weight, bias: [width], float32.
        threads: how many share the rows.
        normed: [rows, width]: the result; scales: [rows] where that is of whole numbers.

    Numbers of `addition` and `normed` are float32, or uint16, which stands for bfloat16; normed may be uint8.
    """
    rows, width = hidden.shape
    for thread in each_thread(threads):
        result = np.empty(width, np.float32)
        for row in range(rows * thread // threads, rows * (thread + 1) // threads):
            stream = hidden[row]
            if factors.shape[0] and addition.shape[0]:
                added, factor = addition[row], factors[row]
                for i in range(width):
                    stream[i] += widen(added[i]) * factor + shift[i]
            elif addition.shape[0]:
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
                result[i] = (stream[i] - mean) * factor * weight[i] + bias[i]
            note(scales, row, put(result, normed[row]))


@threaded
def embed(tokens: Any, places: Any, ids: Any, positions: Any, threads: int, hidden: Any) -> None:
    """The residual stream's beginning: each row's token and place, added.

    Args:
        tokens: [vocabulary, width]; places: [positions, width]: float32, or uint16, which stands for bfloat16.
        ids, positions: [rows], int64.
        hidden: [padded rows, width], float32: the result, 0 in the rows beyond.
    """
    rows, width = hidden.shape
    for thread in each_thread(threads):
        for row in range(rows * thread // threads, rows * (thread + 1) // threads):
            stream = hidden[row]
            if row < len(ids):
                token, place = tokens[ids[row]], places[positions[row]]
                for i in range(width):
                    stream[i] = widen(token[i]) + widen(place[i])
            else:
                stream[:] = 0


@compiled
def products(rows: Any, vector: Any, results: Any) -> None:
    """The scalar product of each of rows [rows, width] with a vector [width], to results [rows]; float32."""
    for row in range(rows.shape[0]):
        total = np.float32(0)
        for i in range(rows.shape[1]):
            total += rows[row, i] * vector[i]
        results[row] = total
