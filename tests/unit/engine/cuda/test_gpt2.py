"""The model that GPUs run, here on the CPU: its logic, its rows and its texts. Graphs and speed need a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import Tiny, load_tiny, make_gpt2, run_all

from tests.unit.engine.cpu.test_gpt2 import ODD, PROMPTS, SHAPES, tokens_of
from tests.unit.engine.test_invariance import mixed_requests
from worker.engine.cuda.gpt2 import CudaGPT2
from worker.engine.engine import SlotEngine
from worker.engine.forward import Logits, Rows
from worker.engine.kv_cache import KVCache
from worker.engine.sequence import Completion

CPU = torch.device("cpu")
ROWS = 16  # of every product: few, since a CPU is slow at the many that a GPU likes


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The operations are too small to share."""
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(2)


def device_model(tiny: Tiny, dtype: str = "fp32") -> CudaGPT2:
    return CudaGPT2(tiny.reference.config, tiny.reference.state_dict(), dtype, CPU, ROWS)


def device_engine(tiny: Tiny, slots: int, dtype: str = "fp32") -> SlotEngine:
    return SlotEngine(device_model(tiny, dtype), tiny.vocabulary, slots)


def compute(model: CudaGPT2, cache: KVCache, *parts: tuple[int, list[int], int]) -> np.ndarray:
    """(slot, tokens, first position) of each part, whose last logits are returned: [parts, vocabulary]."""
    for slot, tokens, start in parts:
        cache.reserve(slot, start + len(tokens))
    rows = Rows(
        tokens=np.concatenate([np.array(tokens) for _, tokens, _ in parts]),
        positions=np.concatenate([np.arange(start, start + len(tokens)) for _, tokens, start in parts]),
        slots=np.concatenate([np.full(len(tokens), slot) for slot, tokens, _ in parts]),
        wanted=np.cumsum([len(tokens) for _, tokens, _ in parts]) - 1,
    )
    logits = model.forward(rows, cache)
    assert len(logits.values) % ROWS == 0
    assert not logits.offsets.any()
    return logits.values[: len(parts), : model.vocabulary].numpy()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: ",".join(shape) or "plain")
def test_logits_equal_those_of_transformers(shape: dict[str, Any], tmp_path: Path) -> None:
    tiny = load_tiny(make_gpt2(tmp_path, **shape))
    model = device_model(tiny)
    for prompt in PROMPTS:
        cache, tokens = model.new_cache(3), tokens_of(tiny, prompt)
        expected = tiny.reference(torch.tensor([tokens])).logits[0, -1].detach().numpy()
        close = 1e-4 * max(1.0, float(expected.std()))
        (whole,) = compute(model, cache, (2, tokens, 0))
        np.testing.assert_allclose(whole, expected, atol=close, rtol=0)
        if len(tokens) > 9:
            compute(model, cache, (0, tokens[:-9], 0))
        for position in range(max(0, len(tokens) - 9), len(tokens)):
            (single,) = compute(model, cache, (0, tokens[position : position + 1], position))
        np.testing.assert_allclose(single, expected, atol=close, rtol=0)


def test_bf16_logits_lie_near_those_of_the_cpu_model(checkpoint: Path) -> None:
    tiny = load_tiny(checkpoint, "bf16")
    tokens, cache = tokens_of(tiny, PROMPTS[0]), tiny.model.new_cache(1)
    cache.reserve(0, len(tokens))
    count = len(tokens)
    rows = Rows(np.array(tokens), np.arange(count), np.zeros(count, np.int64), np.array([count - 1]))
    theirs = tiny.model.forward(rows, cache)
    expected = theirs.values.float().numpy()[0] + theirs.offsets[0]
    model = device_model(tiny, "bf16")
    (logits,) = compute(model, model.new_cache(1), (0, tokens, 0))
    assert 0 < np.abs(logits - expected).max() < 0.15 * expected.std()


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("shape", [{}, ODD], ids=["plain", "odd"])
def test_a_row_has_the_same_bits_whatever_rows_are_beside_it(dtype: str, shape: dict[str, Any], tmp_path: Path) -> None:
    tiny = load_tiny(make_gpt2(tmp_path, **shape), dtype)
    model = device_model(tiny, dtype)
    lengths = {slot: 1 + 3 * slot for slot in range(25)}
    tokens = {slot: [(7 * slot + i) % 300 for i in range(length)] for slot, length in lengths.items()}
    found: dict[int, set[bytes]] = {slot: set() for slot in tokens}
    for group in ([*tokens], [24, 0, 13], [*reversed(range(11, 25))], [3], [24]):
        cache = model.new_cache(25)
        halves = [(slot, tokens[slot][: lengths[slot] // 2], 0) for slot in group if lengths[slot] > 1]
        if halves:
            compute(model, cache, *halves)
        rest = [(slot, tokens[slot][lengths[slot] // 2 :], lengths[slot] // 2) for slot in group]
        for slot, logits in zip(group, compute(model, cache, *rest), strict=True):
            found[slot].add(logits.tobytes())
    assert {len(variants) for variants in found.values()} == {1}


def test_what_lies_in_the_cache_of_sequences_that_are_gone_changes_nothing(tiny: Tiny) -> None:
    model, tokens = device_model(tiny), tokens_of(tiny, PROMPTS[2])
    (expected,) = compute(model, model.new_cache(1), (0, tokens, 0))
    cache = model.new_cache(2)
    cache.keys.fill_(torch.nan)
    cache.values.fill_(torch.nan)
    np.testing.assert_array_equal(compute(model, cache, (1, tokens, 0))[0], expected)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_number_of_slots_changes_no_byte_of_any_text(tiny: Tiny, dtype: str) -> None:
    requests = mixed_requests()
    alone = run_all(device_engine(tiny, 1, dtype), requests)
    assert run_all(device_engine(tiny, 7, dtype), requests) == alone
    assert run_all(device_engine(tiny, 64, dtype), requests[::-1]) == alone


def test_texts_are_those_of_the_cpu_model(tiny: Tiny) -> None:
    """In fp32 the two differ by the last bits of a logit, and rarely by a token."""
    requests = mixed_requests()
    ours, theirs = run_all(device_engine(tiny, 16), requests), run_all(tiny.engine(16), requests)
    same = [isinstance(ours[key], Completion) and ours[key].text == theirs[key].text for key in theirs]
    assert sum(same) >= len(same) - 1


def test_memory_that_runs_out_halves_the_slots_and_loses_no_text(tiny: Tiny) -> None:
    engine = device_engine(tiny, 16)
    assert isinstance(engine.model, CudaGPT2)
    forward, failures = engine.model.forward, iter([True, False, False, True])

    def scarce(rows: Rows, cache: KVCache) -> Logits:
        if next(failures, False):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(rows, cache)

    engine.model.forward = scarce  # type: ignore[method-assign]
    requests = mixed_requests()
    assert run_all(engine, requests) == run_all(device_engine(tiny, 3), requests)
    assert engine.slots == 4


def test_a_cache_that_is_dropped_takes_its_memory_along(tiny: Tiny) -> None:
    model = device_model(tiny)
    cache = model.new_cache(1)
    compute(model, cache, (0, [1, 2, 3], 0))
    assert len(model._passes) == 1
    del cache
    assert len(model._passes) == 0


def test_a_warm_engine_has_written_nothing(tiny: Tiny) -> None:
    engine = device_engine(tiny, 4)
    engine.warm()
    assert (engine.pending, engine.free) == (0, 4)
    assert run_all(engine, mixed_requests()[:5]) == run_all(device_engine(tiny, 4), mixed_requests()[:5])
