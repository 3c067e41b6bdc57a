"""Blocks for a text's whole length are set aside before it begins: where memory is scarce, texts wait their turn."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_models import SENTENCES, Tiny, run_all, settings

from worker.engine.kv_cache import BLOCK, CacheShape, KVCache
from worker.engine.sequence import Completion, Request

SHAPE = CacheShape(layers=2, heads=2, positions=4 * BLOCK, head_dim=8, dtype=torch.float32)
BLOCK_BYTES = SHAPE.slot_bytes // 4


def cache(blocks: int, slots: int = 3) -> KVCache:
    return KVCache(replace(SHAPE, memory=blocks * BLOCK_BYTES), slots, torch.device("cpu"))


@pytest.mark.parametrize(("memory", "blocks"), [(None, 12), (12, 12), (100, 12), (7, 7), (4, 4), (1, 4), (0, 4)])
def test_there_are_blocks_for_the_memory_and_for_one_text_at_least(memory: int | None, blocks: int) -> None:
    shape = replace(SHAPE, memory=None if memory is None else memory * BLOCK_BYTES)
    assert shape.blocks_of(3) == blocks
    assert KVCache(shape, 3, torch.device("cpu")).keys.shape[1] == blocks


def test_blocks_are_set_aside_while_there_are_enough_and_given_back() -> None:
    scarce = cache(5)
    assert scarce.set_aside(0, 3 * BLOCK)
    assert not scarce.set_aside(1, 2 * BLOCK + 1)
    assert scarce.set_aside(1, 2 * BLOCK)
    scarce.reserve(1, 2 * BLOCK)
    assert not scarce.set_aside(2, 1)
    scarce.release(1)
    assert scarce.set_aside(2, 2 * BLOCK)


def test_texts_that_find_no_room_wait_and_come_out_the_same(tiny: Tiny) -> None:
    requests = [
        Request(number, SENTENCES[number % 4], settings(max_new_tokens=20 + number), seed=number)
        for number in range(12)
    ]
    expected = run_all(tiny.engine(4), requests)
    engine = tiny.engine(4)
    shape = engine.model.cache_shape  # type: ignore[attr-defined]
    engine.model.cache_shape = replace(shape, memory=shape.slot_bytes)  # type: ignore[attr-defined]
    try:
        engine.add(requests)
        active, reports = 0, {}
        while engine.pending:
            reports |= {report.key: report for report in engine.step()}
            active = max(active, engine.active)
    finally:
        engine.model.cache_shape = shape  # type: ignore[attr-defined]
    assert reports == expected
    assert all(isinstance(report, Completion) for report in reports.values())
    assert 1 <= active < 4
