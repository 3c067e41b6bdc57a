"""Which tokens of a row may be drawn, and the one that a random number picks. Compiled with numba.

A vocabulary of 50,257 is never sorted: the largest logit of every 64 tokens tells where a top_k lies, and a
search for the smallest weight tells where a nucleus ends. Nothing of other rows is seen. Logits lie in full
groups of 64, padded with minus infinity, and weights with 0: compiled loops of fixed length are fast.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from worker.engine.compiled.compiling import called, inlined
from worker.engine.compiled.float_bits import bits_of_float, exponential, float_of_bits, rank

GROUP = 64  # tokens, neighbours in the vocabulary
STEEPEST = 1e30  # 1 / temperature at most, so that 0 times it is 0
ONE = np.float32(1)
LEAST_RANK = np.int32(-(2**31))


@called
def group_maxima(logits: Any, maxima: Any) -> None:
    """The largest rank of each group of logits [groups, GROUP], to maxima [groups]."""
    for group in range(len(maxima)):
        largest = rank(logits[group, 0])
        for i in range(GROUP):
            largest = max(largest, rank(logits[group, i]))
        maxima[group] = largest


@called
def first_of_the_largest(logits: Any, maxima: Any) -> int:
    """The token of the largest of logits [groups, GROUP]; the lowest where several tie."""
    group = np.argmax(maxima)
    for i in range(GROUP):
        if rank(logits[group, i]) == maxima[group]:
            return int(group * GROUP + i)
    return -1


@called
def weigh(logits: Any, largest: Any, steepness: Any, weights: Any) -> None:
    """exp((logits - largest) * steepness), [tokens]: probabilities relative to the likeliest token's."""
    for i in range(len(logits)):
        weights[i] = exponential((logits[i] - largest) * steepness)


@called
def total_weight(logits: Any, largest: Any) -> float:
    """The sum of exp(logits - largest), [groups, GROUP]: a group in float32, their sum in float64."""
    total = np.float64(0)
    for group in range(len(logits)):
        part = np.float32(0)
        for i in range(GROUP):
            part += exponential(logits[group, i] - largest)
        total += part
    return total


@called
def select_top_k(logits: Any, maxima: Any, top_k: int, tokens: Any) -> int:
    """The tokens with at least the k-th largest logit, by id; ties with it stay, as in transformers.

    Args:
        logits: [groups, GROUP].
        top_k: less than the vocabulary.
        tokens: [vocabulary], int32: where they go.

    Returns:
        How many they are.
    """
    # A group's largest is a logit: the k-th largest of those bounds the k-th largest of all from below.
    bound = kth_largest(maxima, top_k) if top_k < len(maxima) else LEAST_RANK
    candidates = 0
    for group in range(len(maxima)):
        if maxima[group] >= bound:
            for i in range(GROUP):
                if rank(logits[group, i]) >= bound:
                    tokens[candidates] = group * GROUP + i
                    candidates += 1
    flat = logits.reshape(-1)
    ranks = np.empty(candidates, np.int32)
    for i in range(candidates):
        ranks[i] = rank(flat[tokens[i]])
    bound = kth_largest(ranks, top_k)
    count = 0
    for i in range(candidates):
        if ranks[i] >= bound:
            tokens[count] = tokens[i]
            count += 1
    return count


@called
def kth_largest(ranks: Any, k: int) -> Any:
    """By bisection: counting how many are larger takes many at once, a partial sort takes one at a time."""
    low, high = np.int64(LEAST_RANK), np.int64(2**31)  # k of them are at least low; not so many are at least high
    while high - low > 1:
        middle = (low + high) >> 1
        bound, count = np.int32(middle), np.int32(0)
        for i in range(len(ranks)):
            count += np.int32(ranks[i] >= bound)
        if count >= k:
            low = middle
        else:
            high = middle
    return np.int32(low)


@called
def likeliest(logits: Any, maxima: Any, count: int, tokens: Any, best: Any) -> None:
    """The `count` likeliest tokens, by falling logit and then by id, to best [count]."""
    candidates, flat = select_top_k(logits, maxima, count, tokens), logits.reshape(-1)
    for place in range(count):
        first = 0
        for i in range(candidates):
            if tokens[first] < 0 or (tokens[i] >= 0 and flat[tokens[i]] > flat[tokens[first]]):
                first = i
        best[place] = tokens[first]
        tokens[first] = -1


@called
def masses_from(weights: Any, first: Any, second: Any, third: Any) -> tuple[float, float, float]:
    """For each of three weights, the sum of those that are at least as large."""
    from_first, from_second, from_third = np.float32(0), np.float32(0), np.float32(0)
    for i in range(len(weights)):
        weight = weights[i]
        from_first += weight if weight >= first else np.float32(0)
        from_second += weight if weight >= second else np.float32(0)
        from_third += weight if weight >= third else np.float32(0)
    return float(from_first), float(from_second), float(from_third)


@called
def drop_beyond_nucleus(weights: Any, top_p: float) -> None:
    """Set to 0 what lies outside the smallest set, by falling weight and then by id, that has top_p of the sum.

    The smallest weight that stays is searched for among the bits of float32, four times closer at each
    look at the weights [tokens], of which the largest is 1: no sort.
    """
    total = masses_from(weights, np.float32(0), ONE, ONE)[0]
    goal = top_p * total
    # What has to go weighs no more than (1 - top_p) of all, so that its largest is no smaller than that share.
    low = np.int64(bits_of_float(np.float32((1 - top_p) * total / len(weights) * 0.99)))
    high = np.int64(bits_of_float(ONE)) + 1
    while high - low > 1:  # the weights from low on reach the goal, those from high on do not
        step: Any = max(1, (high - low) // 4)
        first, second, third = low + step, min(low + 2 * step, high), min(low + 3 * step, high)
        from_first, from_second, from_third = masses_from(weights, float_at(first), float_at(second), float_at(third))
        if from_first < goal:
            high = first
        elif from_second < goal:
            low, high = first, second
        elif from_third < goal:
            low, high = second, third
        else:
            low = third
    last = float_at(low)
    above = masses_from(weights, float_at(low + 1), ONE, ONE)[0]
    drop_below(weights, last)
    ties = np.int64(np.ceil((goal - above) / last)) if last > 0 else 0
    for i in range(len(weights)):
        if weights[i] == last:
            ties -= 1
            if ties < 0:
                weights[i] = np.float32(0)


@inlined
def float_at(bits: Any) -> Any:
    return float_of_bits(np.uint32(bits))


@called
def drop_below(weights: Any, least: Any) -> None:
    for i in range(len(weights)):
        weights[i] = weights[i] if weights[i] >= least else np.float32(0)


@called
def pick(weights: Any, number: float) -> int:
    """The first index at which the cumulative weight exceeds number, in [0, 1), times the sum.

    `weights`: [groups, GROUP].
    """
    sums = np.empty(len(weights), np.float32)
    total = np.float64(0)
    for group in range(len(weights)):
        part = np.float32(0)
        for i in range(GROUP):
            part += weights[group, i]
        sums[group] = part
        total += part
    goal, reached, last = number * total, np.float64(0), 0
    for group in range(len(weights)):
        if sums[group] > 0:
            last = group  # where rounding carries the goal past the end, it is in the last group that has weight
            if reached + sums[group] > goal:
                break
            reached += sums[group]
    picked = -1
    for i in range(GROUP):
        if weights[last, i] > 0:
            picked = last * GROUP + i
            reached += weights[last, i]
            if reached > goal:
                break
    return picked


@inlined
def round_up_to_group(count: int) -> int:
    """The next multiple of GROUP."""
    return (count + GROUP - 1) // GROUP * GROUP
