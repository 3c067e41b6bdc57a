"""Attention with grouped heads, windows, soft caps and sinks: every row over its own sequence, as far as it may see.

As in worker.engine.cpu.attention, whose loops it shares, a row's bits do not depend on the rows beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from worker.engine.compiled.compiling import SPECIALISED_HEAD_DIM, each_thread, inlined, threaded
from worker.engine.compiled.float_bits import exponential, float_of_rank, rank, widen
from worker.engine.cpu.attention import add_weighted, score
from worker.engine.cpu.quantise import store_row
from worker.engine.kv_cache import BLOCK

EXP_MOST = np.float32(80)
NOT_SEEN = np.float32(-np.inf)


class Projections(NamedTuple):
    """A layer's queries, keys and values of the rows that are computed, rotated where the model rotates them."""

    queries: Any  # [rows, heads, head_dim], float32, or uint16, which stands for bfloat16
    keys: Any  # [rows, groups, head_dim]: heads / groups queries share a key
    values: Any  # as keys


class Rules(NamedTuple):
    """How a layer attends."""

    scale: Any  # float32: what queries are multiplied by
    window: Any  # int64: how many positions a row sees, itself the last
    cap: Any  # float32: scores are bent towards plus and minus this (Gemma 2); 0 = they are not
    sinks: Any  # [heads], float32: a score for each head that takes weight and has no value; minus infinity = none


@inlined
def store(row: Any, projections: Any, cache: Any, rows: Any) -> None:
    """Write a row's keys and values into the cache."""
    keys, key_scales, values, value_scales = cache
    groups, head_dim = projections.keys.shape[1], projections.keys.shape[2]
    position = rows.positions[row]
    page, place = rows.tables[row, position // BLOCK], position % BLOCK
    numbers = np.empty(head_dim, np.float32)
    for group in range(groups):
        for i in range(head_dim):
            numbers[i] = widen(projections.keys[row, group, i])
        key_scales[page, group, place] = store_row(numbers, keys[page, group, place])
        for i in range(head_dim):
            numbers[i] = widen(projections.values[row, group, i])
        value_scales[page, group, place] = store_row(numbers, values[page, group, place])


@inlined
def bend(scores: Any, length: int, cap: Any) -> None:
    """cap * tanh(score / cap), in place, [length]."""
    for at in range(length):
        power = exponential(min(np.float32(2) * scores[at] / cap, EXP_MOST))
        scores[at] = cap - np.float32(2) * cap / (np.float32(1) + power)


@inlined
def softmax_with_sink(scores: Any, length: int, sink: Any) -> None:
    """Scores to weights, in place, [length]; what is minus infinity gets no weight."""
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


@inlined
def longest_view(thread: Any, rows: Any, window: Any) -> Any:
    """How many positions a thread's rows look at most over, in whole blocks."""
    most = 0
    for row in range(rows.cuts[thread], rows.cuts[thread + 1]):
        position = rows.positions[row]
        first = max(0, position + 1 - window) // BLOCK
        most = max(most, position // BLOCK + 1 - first)
    return most * BLOCK


@inlined
def attend_rows(
    thread: Any, queries: Any, cache: Any, rows: Any, rules: Any, attended: Any, heads_a_group: int, head_dim: int
) -> None:
    """A thread's rows; see `attention`."""
    keys, key_scales, values, value_scales = cache
    heads, longest = queries.shape[1], longest_view(thread, rows, rules.window)
    query = np.empty((heads, head_dim), np.float32)
    scores = np.empty((heads, longest), np.float32)
    sums = np.empty((heads, head_dim), np.float32)
    for row in range(rows.cuts[thread], rows.cuts[thread + 1]):
        end = rows.positions[row] + 1
        first = max(0, end - rules.window)
        first_page, pages = first // BLOCK, (end + BLOCK - 1) // BLOCK
        start = first_page * BLOCK
        for head in range(heads):
            for i in range(head_dim):
                query[head, i] = rules.scale * widen(queries[row, head, i])
                sums[head, i] = np.float32(0)
        for page in range(first_page, pages):
            block, at = rows.tables[row, page], page * BLOCK - start
            for head in range(heads):
                group = head // heads_a_group
                score(query[head], keys[block, group], key_scales[block, group], scores[head, at:], head_dim)
        for head in range(heads):
            if rules.cap > 0:
                bend(scores[head], end - start, rules.cap)
            scores[head, : first - start] = NOT_SEEN
            softmax_with_sink(scores[head], end - start, rules.sinks[head])
        for page in range(first_page, pages):
            block, used = rows.tables[row, page], min(BLOCK, end - page * BLOCK)
            for head in range(heads):
                group, weights = head // heads_a_group, scores[head, page * BLOCK - start :]
                add_weighted(weights, values[block, group], value_scales[block, group], used, sums[head], head_dim)
        store_row(sums.reshape(-1), attended[row])


@threaded
def attend_64(projections: Any, cache: Any, rows: Any, rules: Any, attended: Any) -> None:
    for thread in each_thread(rows.cuts.shape[0] - 1):
        for row in range(rows.cuts[thread], rows.cuts[thread + 1]):
            store(row, projections, cache, rows)
    heads_a_group = projections.queries.shape[1] // projections.keys.shape[1]
    for thread in each_thread(rows.cuts.shape[0] - 1):
        attend_rows(thread, projections.queries, cache, rows, rules, attended, heads_a_group, 64)


@threaded
def attend_any(projections: Any, cache: Any, rows: Any, rules: Any, attended: Any) -> None:
    for thread in each_thread(rows.cuts.shape[0] - 1):
        for row in range(rows.cuts[thread], rows.cuts[thread + 1]):
            store(row, projections, cache, rows)
    heads_a_group, head_dim = projections.queries.shape[1] // projections.keys.shape[1], projections.queries.shape[2]
    for thread in each_thread(rows.cuts.shape[0] - 1):
        attend_rows(thread, projections.queries, cache, rows, rules, attended, heads_a_group, head_dim)


def attention(head_dim: int) -> Callable[..., None]:
    """The compiled function for heads of that many numbers.

    Its arguments:
        projections: Projections; their keys and values are written to the cache first.
        cache: LayerCache of as many heads as `projections.keys` has groups.
        rows: CacheRows.
        rules: Rules.
        attended: [rows, heads * head_dim], as the queries: the result.

    Sums are float32 in any case.
    """
    return attend_64 if head_dim == SPECIALISED_HEAD_DIM else attend_any
