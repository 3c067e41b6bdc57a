"""Grouped heads, windows, caps, sinks and rotation: what torch computes, over a cache in blocks that lie anywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from worker.engine.compiled.compiling import ensure_compiled
from worker.engine.cpu.attention import EVERYTHING, NOT_ROTATED, CacheRows, Rotation, Rules, attend, share_out
from worker.engine.cpu.linear import Activations, Products
from worker.engine.kv_cache import CacheShape, KVCache

LENGTHS = (1, 31, 40, 70)  # of texts; blocks have 32 positions
POSITIONS = np.concatenate([np.arange(length) for length in LENGTHS])
GROUPS, HEADS = 2, 6
RANDOM = torch.Generator().manual_seed(0)
EXACT, HALF, EIGHT_BITS = (1e-4, 1e-5), (0.03, 0.03), (0.1, 0.06)  # how far apart numbers may be: relative, absolute


def random_texts(head_dim: int) -> list[list[torch.Tensor]]:
    """Queries, keys and values of each text, [tokens, heads, head_dim], as bfloat16 holds them."""
    return [
        [torch.randn(length, heads, head_dim, generator=RANDOM).bfloat16().float() for heads in (HEADS, GROUPS, GROUPS)]
        for length in LENGTHS
    ]


def ours(texts: list[list[torch.Tensor]], rules: Rules, rotation: Rotation, dtype: str) -> list[torch.Tensor]:
    """Each text's, [tokens, heads, head_dim], all computed at once."""
    ensure_compiled(dtype)
    head_dim = texts[0][0].shape[2]
    number = torch.bfloat16 if dtype == "bf16" else torch.float32
    cached = torch.int8 if dtype == "int8" else number
    cache = KVCache(CacheShape(1, GROUPS, 128, head_dim, cached), len(LENGTHS), torch.device("cpu"))
    for slot in reversed(range(len(LENGTHS))):  # so that no text's blocks lie in order of slots
        cache.reserve(slot, LENGTHS[slot])
    places = CacheRows(cache.tables[np.repeat(np.arange(len(LENGTHS)), LENGTHS)], POSITIONS, share_out(POSITIONS, 3))
    together = torch.cat([torch.cat([part.flatten(1) for part in text], dim=1) for text in texts])
    attended = Activations(torch.empty(len(POSITIONS), HEADS * head_dim, dtype=number))
    attend(Products(together.to(number)).arrays, rotation, cache.layer(0), places, rules, attended.arrays)
    return list(attended.values.float().view(-1, HEADS, head_dim).split(LENGTHS))


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


def plain_rules(head_dim: int, window: int = EVERYTHING, cap: float = 0.0, sinks: bool = False) -> Rules:
    sink = torch.randn(HEADS, generator=RANDOM).numpy() if sinks else np.full(HEADS, -np.inf, np.float32)
    return Rules(np.float32(head_dim**-0.5), np.int64(window), np.float32(cap), sink)


@pytest.mark.parametrize("head_dim", [64, 20])
@pytest.mark.parametrize(
    ("window", "cap", "sinks"),
    [(EVERYTHING, 0.0, False), (9, 0.0, False), (33, 2.0, False), (EVERYTHING, 5.0, True), (64, 0.0, True)],
)
def test_attention_is_torchs(head_dim: int, window: int, cap: float, sinks: bool) -> None:
    texts, rules = random_texts(head_dim), plain_rules(head_dim, window, cap, sinks)
    for one, text in zip(ours(texts, rules, NOT_ROTATED, "fp32"), texts, strict=True):
        torch.testing.assert_close(one, expected(text, rules).float(), rtol=EXACT[0], atol=EXACT[1])


def rotated(numbers: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """The plain way (Su et al. 2021). numbers: [tokens, heads, head_dim]."""
    turned, rest = numbers[..., : cosines.shape[1]], numbers[..., cosines.shape[1] :]
    first, second = turned.chunk(2, dim=-1)
    other = torch.cat([-second, first], dim=-1)
    return torch.cat([turned * cosines[:, None] + other * sines[:, None], rest], dim=-1)


@pytest.mark.parametrize("head_dim", [64, 96, 20])
@pytest.mark.parametrize(("dtype", "apart"), [("fp32", EXACT), ("bf16", HALF), ("int8", EIGHT_BITS)])
def test_queries_and_keys_are_rotated_in_every_dtype(head_dim: int, dtype: str, apart: tuple[float, float]) -> None:
    texts, rules = random_texts(head_dim), plain_rules(head_dim)
    angles = torch.rand(len(POSITIONS), head_dim // 2, generator=RANDOM) * 6
    parts: list[Any] = [torch.cat([part, part], dim=1) for part in (angles.cos(), angles.sin())]
    rotation = Rotation(*(part.numpy() for part in parts))
    per_text = zip(*(part.split(LENGTHS) for part in parts), strict=True)
    for one, text, turn in zip(ours(texts, rules, rotation, dtype), texts, per_text, strict=True):
        turned = [rotated(text[0], *turn), rotated(text[1], *turn), text[2]]
        torch.testing.assert_close(one, expected(turned, rules).float(), rtol=apart[0], atol=apart[1])
