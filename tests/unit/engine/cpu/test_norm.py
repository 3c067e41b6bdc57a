"""The norm's bits depend on its numbers alone, not on where in memory its arrays happen to lie."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from worker.engine.compiled.compiling import ensure_compiled
from worker.engine.cpu.norm import add_and_norm
from worker.engine.cpu.quantise import ActivationArrays, ProductArrays
from worker.engine.gpt2_weights import Norm

NOTHING: Any = np.empty(0, np.float32)
CALLS = 10_000


@pytest.mark.parametrize("width", [20, 36, 64])
def test_where_arrays_lie_changes_no_bit(width: int) -> None:
    """A compiled loop is left by its vectors for single numbers where two arrays lie close to each other, as far as
    the compiler can see: with narrow rows, what malloc gives decided that about once in 300 calls."""
    ensure_compiled("fp32")
    numbers, chance = np.random.default_rng(0), random.Random(1)
    row, addition = (numbers.standard_normal((1, width)).astype(np.float32) for _ in range(2))
    weight, bias = (numbers.standard_normal(width).astype(np.float32) for _ in range(2))
    between: list[Any] = []
    results = set()
    for _ in range(CALLS):
        hidden, normed = row.copy(), np.empty_like(row)
        weights = weight.copy() if chance.random() < 0.5 else weight
        added, norm = ProductArrays(addition, NOTHING, NOTHING), Norm(weights, bias)
        add_and_norm(hidden, added, norm, np.float32(1e-5), 1, ActivationArrays(normed, NOTHING))
        results.add(normed.tobytes())
        between.append(np.empty(chance.choice([8, 36, 40, 64, 100]), np.float32))
        if len(between) > 50:
            between.pop(chance.randrange(50))
    assert len(results) == 1
