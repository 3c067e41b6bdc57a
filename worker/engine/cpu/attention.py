"""Attention on a CPU: every row over its own sequence's keys and values, just as far as it may see.

A row is one token of one sequence, of a prompt or newly sampled: both are computed alike, so where a prompt
is cut, and what runs beside it, cannot change a bit. Memory's speed limits it: keys and values are read once,
in the order in which they lie, and the int8 engine keeps them in 8 bits. Heads may share keys in groups.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from worker.engine.compiled.compiling import called, each_thread, threaded
from worker.engine.compiled.float_bits import EXP_MOST, exponential, float_of_rank, rank, widen
from worker.engine.compiled.vectors import LANES, add_weighted_vectors
from worker.engine.cpu.quantise import dequantise, store_row, store_scale
from worker.engine.kv_cache import BLOCK

NOT_SEEN = np.float32(-np.inf)
if BLOCK % LANES:
    raise ImportError("a block of the cache has to hold whole vectors")
EVERYTHING = np.iinfo(np.int64).max // 2  # a window that ends nowhere


class CacheRows(NamedTuple):
    """Where rows lie in a cache, and which thread computes them."""

    tables: Any  # [rows, blocks a sequence], int32: the blocks of each row's sequence
    positions: Any  # [rows], int64: a row sees positions 0 to its own, or the nearest of them
    cuts: Any  # [threads + 1], int64: where each thread's rows start, and the last one's end


class Rotation(NamedTuple):
    """By how much the first numbers of each query and key are rotated (Su et al. 2021), the first half of them with
    the second; no numbers where they are not, or were before."""

    cosines: Any  # [rows, rotated], float32
    sines: Any  # the same


class Rules(NamedTuple):
    """How a layer attends."""

    scale: Any  # float32: what queries are multiplied by
    window: Any  # int64: how many positions a row sees, itself the last
    cap: Any  # float32: scores are bent towards plus and minus this (Gemma 2); 0 = they are not
    sinks: Any  # [heads], float32: a score for each head that takes weight and has no value; minus infinity = none


NOT_ROTATED = Rotation(np.empty((0, 0), np.float32), np.empty((0, 0), np.float32))


def plain_rules(scale: float, heads: int) -> Rules:
    """Of a layer that sees everything."""
    return Rules(np.float32(scale), np.int64(EVERYTHING), np.float32(0), np.full(heads, -np.inf, np.float32))


@called
def rotate(numbers: Any, cosines: Any, sines: Any, factor: Any, result: Any, head_dim: int) -> None:
    """A head's numbers [head_dim], rotated, times a factor, as float32."""
    half = len(cosines) // 2
    for i in range(half):
        first, second = widen(numbers[i]), widen(numbers[half + i])
        result[i] = factor * (first * cosines[i] - second * sines[i])
        result[half + i] = factor * (second * cosines[half + i] + first * sines[half + i])
    for i in range(2 * half, head_dim):
        result[i] = factor * widen(numbers[i])


@called
def store(row: Any, projected: Any, rotation: Any, cache: Any, rows: Any, heads: int) -> None:
    """Write a row's keys and values, which stand behind its queries, into the cache.

    A block's keys lie the other way round, [head_dim, BLOCK]: so a query's scores on them are a sum of vectors.
    """
    keys, key_scales, values, value_scales = cache
    groups, head_dim = keys.shape[1], keys.shape[3]
    position = rows.positions[row]
    page, place = rows.tables[row, position // BLOCK], position % BLOCK
    numbers, one = np.empty(head_dim, np.float32), np.float32(1)
    for group in range(groups):
        key = projected[row, (heads + group) * head_dim :]
        rotate(key, rotation.cosines[row], rotation.sines[row], one, numbers, head_dim)
        block = keys[page, group].reshape(head_dim, BLOCK)
        key_scales[page, group, place] = store_row(numbers, block[:, place])
        for i in range(head_dim):
            numbers[i] = widen(projected[row, (heads + groups + group) * head_dim + i])
        value_scales[page, group, place] = store_row(numbers, values[page, group, place])


@called
def bend(scores: Any, length: int, cap: Any) -> None:
    """cap * tanh(score / cap), in place, [length]."""
    for at in range(length):
        power = exponential(min(np.float32(2) * scores[at] / cap, EXP_MOST))
        scores[at] = cap - np.float32(2) * cap / (np.float32(1) + power)


@called
def softmax(scores: Any, length: int, sink: Any) -> None:
    """Scores to weights, in place, [length]; what is minus infinity gets none. What lies beyond is unused."""
    highest = rank(sink)
    for at in range(length):
        highest = max(highest, rank(scores[at]))
    largest = float_of_rank(highest)
    total = exponential(sink - largest)
    for at in range(length):
        weight = exponential(scores[at] - largest)
        scores[at] = weight
        total += weight
    share = np.float32(1) / total
    for at in range(length):
        scores[at] *= share


@called
def longest_view(thread: Any, rows: Any, window: Any) -> Any:
    """How many positions a thread's rows look at most over, in whole blocks."""
    most = 0
    for row in range(rows.cuts[thread], rows.cuts[thread + 1]):
        position = rows.positions[row]
        first = max(0, position + 1 - window) // BLOCK
        most = max(most, position // BLOCK + 1 - first)
    return most * BLOCK


@called
def add_values(
    weights: Any, at: int, count: int, values: Any, start: int, sums: Any, place: int, head_dim: int
) -> None:
    """Add the first values of a block, by their weights, to sums[place : place + head_dim]."""
    whole = head_dim - head_dim % LANES
    for i in range(0, whole, LANES):
        add_weighted_vectors(weights, at, count, values, start + i, head_dim, sums, place + i)
    for key in range(count if whole < head_dim else 0):
        for i in range(whole, head_dim):
            sums[place + i] += weights[at + key] * widen(values[start + key * head_dim + i])


@called
def attend_rows(
    thread: Any,
    projected: Any,
    rotation: Any,
    cache: Any,
    rows: Any,
    rules: Any,
    attended: Any,
    scales: Any,
) -> None:
    """A thread's rows; see `attend`. `attended` and `scales` come apart, since numba drops what is written to a field.

    Blocks are read in the order in which they lie, each for all heads that share it.
    """
    keys, key_scales, values, value_scales = cache
    heads, groups, longest = len(rules.sinks), keys.shape[1], longest_view(thread, rows, rules.window)
    shared, head_dim = heads // groups, keys.shape[3]
    size = BLOCK * head_dim
    keys, values = keys.reshape(-1), values.reshape(-1)
    queries, sums = np.empty((heads, head_dim), np.float32), np.empty(heads * head_dim, np.float32)
    query, scores = queries.reshape(-1), np.empty((heads, longest), np.float32)
    flat_scores = scores.reshape(-1)
    for row in range(rows.cuts[thread], rows.cuts[thread + 1]):
        end = rows.positions[row] + 1
        first = max(0, end - rules.window)
        first_page, pages = first // BLOCK, (end + BLOCK - 1) // BLOCK
        start = first_page * BLOCK
        for head in range(heads):
            numbers = projected[row, head * head_dim :]
            rotate(numbers, rotation.cosines[row], rotation.sines[row], rules.scale, queries[head], head_dim)
        for page in range(first_page, pages):
            block = rows.tables[row, page]
            for head in range(heads):
                group, at = head // shared, head * longest + page * BLOCK - start
                keys_at = (block * groups + group) * size
                for i in range(BLOCK):
                    flat_scores[at + i] = np.float32(0)
                for place in range(0, BLOCK, LANES):
                    at_query = head * head_dim
                    add_weighted_vectors(
                        query, at_query, head_dim, keys, keys_at + place, BLOCK, flat_scores, at + place
                    )
                for i in range(BLOCK):
                    flat_scores[at + i] *= key_scales[block, group, i]
        for head in range(heads):
            if rules.cap > 0:
                bend(scores[head], end - start, rules.cap)
            scores[head, : first - start] = NOT_SEEN
            softmax(scores[head], end - start, rules.sinks[head])
        for i in range(heads * head_dim):
            sums[i] = np.float32(0)
        for page in range(first_page, pages):
            block, used = rows.tables[row, page], min(BLOCK, end - page * BLOCK)
            for head in range(heads):
                group, at = head // shared, head * longest + page * BLOCK - start
                for i in range(used):
                    flat_scores[at + i] *= value_scales[block, group, i]
                values_at = (block * groups + group) * size
                add_values(flat_scores, at, used, values, values_at, sums, head * head_dim, head_dim)
        store_scale(scales, row, store_row(sums, attended[row]))


@threaded
def attend(products: Any, rotation: Any, cache: Any, rows: Any, rules: Any, attended: Any) -> None:
    """
    Args:
        products: ProductArrays, [rows, (heads + 2 * groups) * head_dim]: queries, keys and values; heads / groups
            queries share a key. Dequantised in place.
        rotation: Rotation of queries and keys.
        cache: LayerCache of as many heads as there are groups; the rows' own keys and values are written first.
        rows: CacheRows.
        rules: Rules.
        attended: ActivationArrays, [rows, heads * head_dim]: the result.

    Sums are float32 in any case.
    """
    projected, factors, shift = products.values, products.scales, products.shift
    values, scales = attended.values, attended.scales
    for thread in each_thread(rows.cuts.shape[0] - 1):
        for row in range(rows.cuts[thread], rows.cuts[thread + 1]):
            dequantise(projected[row], factors, shift, row)
            store(row, projected, rotation, cache, rows, len(rules.sinks))
    for thread in each_thread(rows.cuts.shape[0] - 1):
        attend_rows(thread, projected, rotation, cache, rows, rules, values, scales)


def share_out(positions: Any, threads: int) -> Any:
    """Rows among threads, so that each reads about as many positions. Returns `cuts` of CacheRows."""
    read = np.cumsum(positions + 1)
    shares = np.arange(1, threads) * (read[-1] / threads)
    return np.concatenate([[0], np.searchsorted(read, shares, side="right"), [len(positions)]]).astype(np.int64)
