"""What transformers' layers call for attention while they are served: ours, over the cache of the step at hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from worker.engine.compiled.float_bits import as_array
from worker.engine.cpu.attention import CacheRows
from worker.engine.decoder.attention import Projections, Rules, attention
from worker.engine.decoder.survey import AttentionCall, Survey
from worker.engine.kv_cache import KVCache

SERVED = "inkmill"  # the name of an attention implementation; it has no masks, so none are made


@dataclass(slots=True)
class Step:
    """What is computed now, for all layers of one network."""

    places: CacheRows | None = None
    cache: KVCache | None = None

    @contextmanager
    def of(self, places: CacheRows, cache: KVCache) -> Iterator[None]:
        """For a while: a cache that the engine drops is held by nobody."""
        self.places, self.cache = places, cache
        try:
            yield
        finally:
            self.places = self.cache = None


class LayerAttention:
    """One layer's. Rows beyond those of the step are padding, and get zeros."""

    def __init__(self, index: int, call: AttentionCall, step: Step) -> None:
        self._index, self._step = index, step
        self._attend = attention(call.head_dim)
        sinks = np.full(call.heads, -np.inf) if call.sinks is None else call.sinks.detach().float().numpy()
        everything = np.iinfo(np.int64).max // 2
        self._rules = Rules(
            np.float32(call.scale), np.int64(call.window or everything), np.float32(call.cap), sinks.astype(np.float32)
        )

    def __call__(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """query: [1, heads, rows, head_dim]; key and value: [1, groups, rows, head_dim].

        Returns [1, rows, heads, head_dim].
        """
        places, cache = self._step.places, self._step.cache
        if places is None or cache is None:
            raise RuntimeError("no step is being computed")
        count = len(places.positions)
        _, heads, rows, head_dim = query.shape
        attended = torch.empty(rows, heads * head_dim, dtype=query.dtype)
        attended[count:] = 0
        projections = Projections(*(as_array(_rows_first(part, count)) for part in (query, key, value)))
        self._attend(projections, cache.layer(self._index), places, self._rules, as_array(attended))
        return attended.view(1, rows, heads, head_dim)


def serve(network: Any, found: Survey, step: Step) -> None:
    """Let a network's layers attend over the cache of `step`."""
    for index, call in enumerate(found.calls):
        module: Any = call.module
        module.slot_attention = LayerAttention(index, call, step)
    network.set_attn_implementation(SERVED)


def _rows_first(part: torch.Tensor, count: int) -> torch.Tensor:
    return part[0].transpose(0, 1)[:count].contiguous()


def _attend(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, _mask: Any, **_: Any
) -> tuple[torch.Tensor, None]:
    return module.slot_attention(query, key, value), None


ALL_ATTENTION_FUNCTIONS.register(SERVED, _attend)
