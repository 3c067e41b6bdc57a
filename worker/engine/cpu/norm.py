"""The residual stream on a CPU: its beginning, and layer norm (Ba et al. 2016) with the addition before it."""

from __future__ import annotations

from typing import Any

import numpy as np

from worker.engine.compiled.compiling import compiled, each_thread, threaded
from worker.engine.compiled.float_bits import widen
from worker.engine.cpu.quantise import store_row, store_scale


@threaded
def add_and_norm(hidden: Any, addition: Any, norm: Any, epsilon: Any, threads: int, normed: Any) -> None:
    """Add to the residual stream, and norm the sum.

    Args:
        hidden: [rows, width], float32; changed in place.
        addition: ProductArrays; no rows where nothing is added.
        norm: Norm, of arrays.
        epsilon: float32.
        threads: how many share the rows.
        normed: ActivationArrays, the result.
    """
    added_values, added_scales, shift = addition.values, addition.scales, addition.shift
    weight, bias = norm.weight, norm.bias
    values, scales = normed.values, normed.scales
    rows, width = hidden.shape
    for thread in each_thread(threads):
        result = np.empty(width, np.float32)
        for row in range(rows * thread // threads, rows * (thread + 1) // threads):
            stream = hidden[row]
            if added_scales.shape[0] and added_values.shape[0]:
                added, scale = added_values[row], added_scales[row]
                for i in range(width):
                    stream[i] += widen(added[i]) * scale + shift[i]
            elif added_values.shape[0]:
                added = added_values[row]
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
            store_scale(scales, row, store_row(result, values[row]))


@threaded
def embed(
    token_embedding: Any, position_embedding: Any, tokens: Any, positions: Any, threads: int, hidden: Any
) -> None:
    """The residual stream's beginning: the embeddings of each row's token and position, added.

    Args:
        token_embedding: [vocabulary, width], float32, or uint16, which stands for bfloat16.
        position_embedding: [positions, width], the same.
        tokens, positions: [rows], int64.
        hidden: [padded rows, width], float32: the result, 0 in the rows beyond.
    """
    rows, width = hidden.shape
    for thread in each_thread(threads):
        for row in range(rows * thread // threads, rows * (thread + 1) // threads):
            stream = hidden[row]
            if row < len(tokens):
                token, position = token_embedding[tokens[row]], position_embedding[positions[row]]
                for i in range(width):
                    stream[i] = widen(token[i]) + widen(position[i])
            else:
                stream[:] = 0


@compiled
def dot_products(rows: Any, vector: Any, results: Any) -> None:
    """The dot product of each of rows [rows, width] with a vector [width], to results [rows]; float32."""
    for row in range(rows.shape[0]):
        total = np.float32(0)
        for i in range(rows.shape[1]):
            total += rows[row, i] * vector[i]
        results[row] = total
