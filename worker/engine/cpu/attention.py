"""Attention on a CPU: every row over its own sequence's keys and values, just as far as it is long.

A row is one token of one sequence, of a prompt or newly sampled: both are computed alike, so where a prompt
is cut, and what runs beside it, cannot change a bit. Memory's speed limits it: keys and values are read once,
in the order in which they lie, and the int8 engine keeps them in 8 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from worker.engine.compiled.compiling import SPECIALISED_HEAD_DIM, each_thread, inlined, threaded
from worker.engine.compiled.float_bits import exponential, float_of_rank, rank, widen
from worker.engine.cpu.quantise import dequantise, store_row, store_scale
from worker.engine.kv_cache import BLOCK

UNROLLED = 4  # keys at once


class CacheRows(NamedTuple):
    """Where rows lie in a cache, and which thread computes them."""

    tables: Any  # [rows, blocks a sequence], int32: the blocks of each row's sequence
    positions: Any  # [rows], int64: a row sees positions 0 to its own
    cuts: Any  # [threads + 1], int64: where each thread's rows start, and the last one's end


@inlined
def store(row: Any, projected: Any, cache: Any, rows: Any) -> None:
    """Write a row's key and value, the second and third part of projected, into the cache."""
    keys, key_scales, values, value_scales = cache
    heads, head_dim = keys.shape[1], keys.shape[3]
    position = rows.positions[row]
    page, place = rows.tables[row, position // BLOCK], position % BLOCK
    numbers = np.empty(head_dim, np.float32)
    for head in range(heads):
        for i in range(head_dim):
            numbers[i] = widen(projected[row, (heads + head) * head_dim + i])
        key_scales[page, head, place] = store_row(numbers, keys[page, head, place])
        for i in range(head_dim):
            numbers[i] = widen(projected[row, (2 * heads + head) * head_dim + i])
        value_scales[page, head, place] = store_row(numbers, values[page, head, place])


@inlined
def score(query: Any, keys: Any, scales: Any, scores: Any, head_dim: int) -> None:
    """query [head_dim] on keys [BLOCK, head_dim] with their scales [BLOCK], to scores [BLOCK]."""
    for at in range(0, BLOCK, UNROLLED):
        first, second, third, fourth = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for i in range(head_dim):
            number = query[i]
            first += number * widen(keys[at, i])
            second += number * widen(keys[at + 1, i])
            third += number * widen(keys[at + 2, i])
            fourth += number * widen(keys[at + 3, i])
        scores[at], scores[at + 1] = first * scales[at], second * scales[at + 1]
        scores[at + 2], scores[at + 3] = third * scales[at + 2], fourth * scales[at + 3]


@inlined
def softmax(scores: Any, length: int) -> None:
    """Scores to weights, in place, [length]. What lies beyond is unused, or left from a sequence that is gone."""
    highest = rank(scores[0])
    for at in range(length):
        highest = max(highest, rank(scores[at]))
    largest = float_of_rank(highest)
    total = np.float32(0)
    for at in range(length):
        weight = exponential(scores[at] - largest)
        scores[at] = weight
        total += weight
    share = np.float32(1) / total
    for at in range(length):
        scores[at] *= share


@inlined
def add_weighted(weights: Any, values: Any, scales: Any, length: int, sums: Any, head_dim: int) -> None:
    """Add the first values [BLOCK, head_dim], by their weights and scales [BLOCK], to sums [head_dim]."""
    unrolled = length - length % UNROLLED
    for at in range(length):
        weights[at] *= scales[at]
    for at in range(0, unrolled, UNROLLED):
        first, second, third, fourth = weights[at], weights[at + 1], weights[at + 2], weights[at + 3]
        for i in range(head_dim):
            sums[i] += (
                first * widen(values[at, i])
                + second * widen(values[at + 1, i])
                + third * widen(values[at + 2, i])
                + fourth * widen(values[at + 3, i])
            )
    for at in range(unrolled, length):
        for i in range(head_dim):
            sums[i] += weights[at] * widen(values[at, i])


@inlined
def attend_rows(
    thread: Any, projected: Any, cache: Any, rows: Any, scale: Any, attended: Any, scales: Any, head_dim: int
) -> None:
    """A thread's rows; see `attention`. `attended` and `scales` come apart, since inlined code writes to them."""
    keys, key_scales, values, value_scales = cache
    heads, longest = keys.shape[1], rows.tables.shape[1] * BLOCK
    query = np.empty((heads, head_dim), np.float32)
    scores = np.empty((heads, longest), np.float32)
    sums = np.empty((heads, head_dim), np.float32)
    for row in range(rows.cuts[thread], rows.cuts[thread + 1]):
        length = rows.positions[row] + 1
        pages = (length + BLOCK - 1) // BLOCK
        for head in range(heads):
            for i in range(head_dim):
                query[head, i] = scale * widen(projected[row, head * head_dim + i])
                sums[head, i] = np.float32(0)
        for page in range(pages):
            block = rows.tables[row, page]
            for head in range(heads):
                score(query[head], keys[block, head], key_scales[block, head], scores[head, page * BLOCK :], head_dim)
        for head in range(heads):
            softmax(scores[head], length)
        for page in range(pages):
            block, used = rows.tables[row, page], min(BLOCK, length - page * BLOCK)
            for head in range(heads):
                weights = scores[head, page * BLOCK :]
                add_weighted(weights, values[block, head], value_scales[block, head], used, sums[head], head_dim)
        store_scale(scales, row, store_row(sums.reshape(-1), attended[row]))


@threaded
def attend_64(products: Any, cache: Any, rows: Any, scale: Any, attended: Any) -> None:
    projected, factors, shift = products.values, products.scales, products.shift
    values, scales = attended.values, attended.scales
    for thread in each_thread(rows.cuts.shape[0] - 1):
        for row in range(rows.cuts[thread], rows.cuts[thread + 1]):
            dequantise(projected[row], factors, shift, row)
            store(row, projected, cache, rows)
    for thread in each_thread(rows.cuts.shape[0] - 1):
        attend_rows(thread, projected, cache, rows, scale, values, scales, 64)


@threaded
def attend_any(products: Any, cache: Any, rows: Any, scale: Any, attended: Any) -> None:
    projected, factors, shift = products.values, products.scales, products.shift
    values, scales = attended.values, attended.scales
    for thread in each_thread(rows.cuts.shape[0] - 1):
        for row in range(rows.cuts[thread], rows.cuts[thread + 1]):
            dequantise(projected[row], factors, shift, row)
            store(row, projected, cache, rows)
    for thread in each_thread(rows.cuts.shape[0] - 1):
        attend_rows(thread, projected, cache, rows, scale, values, scales, cache.keys.shape[3])


def attention(head_dim: int) -> Callable[..., None]:
    """The compiled function for heads of that many numbers; every published GPT-2 has 64.

    Its arguments:
        products: ProductArrays, [rows, 3 * heads * head_dim]: queries, keys and values; dequantised in place.
        cache: LayerCache; the rows' own keys and values are written first.
        rows: CacheRows.
        scale: what queries are multiplied by, float32.
        attended: ActivationArrays, [rows, heads * head_dim]: the result.

    Sums are float32 in any case.
    """
    return attend_64 if head_dim == SPECIALISED_HEAD_DIM else attend_any


def share_out(positions: Any, threads: int) -> Any:
    """Rows among threads, so that each reads about as many positions. Returns `cuts` of CacheRows."""
    read = np.cumsum(positions + 1)
    shares = np.arange(1, threads) * (read[-1] / threads)
    return np.concatenate([[0], np.searchsorted(read, shares, side="right"), [len(positions)]]).astype(np.int64)
