"""Grouped heads, windows, soft caps and sinks: what torch computes, over a cache in blocks that lie anywhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from worker.engine.cpu.attention import EVERYTHING, CacheRows, Rules, attend, no_rotation, share_out
from worker.engine.cpu.linear import Activations, Products
from worker.engine.kv_cache import CacheShape, KVCache

LENGTHS = (1, 31, 40, 70)  # of texts; blocks have 32 positions
GROUPS, HEADS = 2, 6


def expected(projections: list[torch.Tensor], rules: Rules) -> torch.Tensor:
    """One text's, the plain way; [tokens, heads, head_dim] each."""
    queries, keys, values = (part.double() for part in projections)
    keys, values = (part.repeat_interleave(HEADS // GROUPS, dim=1) for part in (keys, values))
    scores = torch.einsum("ihd,jhd->hij", queries * float(rules.scale), keys)
    if rules.cap:
        scores = float(rules.cap) * torch.tanh(scores / float(rules.cap))
    places = torch.arange(len(queries))
    back = places[:, None] - places[None]
    scores = scores.masked_fill((back < 0) | (back >= int(rules.window)), -torch.inf)
    sinks = torch.from_numpy(rules.sinks).double()[:, None, None].expand(-1, len(queries), 1)
    weights = torch.softmax(torch.cat([scores, sinks], dim=-1), dim=-1)[..., :-1]
    return torch.einsum("hij,jhd->ihd", weights, values)


@pytest.mark.parametrize("head_dim", [64, 20])
@pytest.mark.parametrize(
    ("window", "cap", "sinks"),
    [(EVERYTHING, 0.0, False), (9, 0.0, False), (33, 2.0, False), (EVERYTHING, 5.0, True), (64, 0.0, True)],
)
def test_attention_is_torchs(head_dim: int, window: int, cap: float, sinks: bool) -> None:
    random = torch.Generator().manual_seed(0)
    sink = torch.randn(HEADS, generator=random).numpy() if sinks else np.full(HEADS, -np.inf, np.float32)
    rules = Rules(np.float32(head_dim**-0.5), np.int64(window), np.float32(cap), sink)
    texts = [
        [torch.randn(length, heads, head_dim, generator=random) for heads in (HEADS, GROUPS, GROUPS)]
        for length in LENGTHS
    ]
    together = Products(torch.cat([torch.cat([part.flatten(1) for part in text], dim=1) for text in texts]))
    cache = KVCache(CacheShape(1, GROUPS, 128, head_dim, torch.float32), len(LENGTHS), torch.device("cpu"))
    for slot in reversed(range(len(LENGTHS))):  # so that no text's blocks lie in order of slots
        cache.reserve(slot, LENGTHS[slot])
    positions = np.concatenate([np.arange(length) for length in LENGTHS])
    places = CacheRows(cache.tables[np.repeat(np.arange(len(LENGTHS)), LENGTHS)], positions, share_out(positions, 3))
    attended = Activations(torch.empty(len(positions), HEADS * head_dim))
    attend(together.arrays, no_rotation("fp32"), cache.layer(0), places, rules, attended.arrays)
    ours = attended.values.view(-1, HEADS, head_dim).split(LENGTHS)
    for one, text in zip(ours, texts, strict=True):
        torch.testing.assert_close(one, expected(text, rules).float(), rtol=1e-4, atol=1e-5)
