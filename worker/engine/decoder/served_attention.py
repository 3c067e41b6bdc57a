"""What transformers' layers call for attention while they are served: ours, over the cache of the step at hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from worker.engine.cpu.attention import EVERYTHING, NOT_ROTATED, CacheRows, Rotation, Rules, attend
from worker.engine.cpu.linear import Activations, Products
from worker.engine.decoder.survey import AttentionCall
from worker.engine.kv_cache import KVCache

SERVED = "inkmill"  # the name of an attention implementation; it has no masks, so none are made


@dataclass(slots=True)
class Step:
    """What is computed now, for all layers of one network."""

    places: CacheRows | None = None
    cache: KVCache | None = None
    _rotations: list[tuple[Any, Rotation]] = field(default_factory=list)

    @contextmanager
    def of(self, places: CacheRows, cache: KVCache) -> Iterator[None]:
        """For a while: a cache that the engine drops is held by nobody."""
        self.places, self.cache = places, cache
        try:
            yield
        finally:
            self.places = self.cache = None
            self._rotations.clear()

    def rotation(self, embeddings: tuple[torch.Tensor, torch.Tensor]) -> Rotation:
        """Cosines and sines, [1, rows, rotated] each, as attention reads them; layers share them."""
        known = next((rotation for given, rotation in self._rotations if given is embeddings), None)
        if known is None:
            known = Rotation(*(part[0].float().numpy() for part in embeddings))
            self._rotations.append((embeddings, known))
        return known


class LayerAttention:
    """One layer's. Rows beyond those of the step are padding, and get zeros."""

    def __init__(self, index: int, call: AttentionCall, step: Step) -> None:
        self._index, self._step = index, step
        self.width = call.heads * call.head_dim
        sinks = np.full(call.heads, -np.inf) if call.sinks is None else call.sinks.detach().float().numpy()
        window = EVERYTHING if call.window is None else call.window
        self._rules = Rules(np.float32(call.scale), np.int64(window), np.float32(call.cap), sinks.astype(np.float32))

    def attend(self, projected: Products, rotation: Rotation | None, attended: Activations) -> None:
        """
        Args:
            projected: [rows, (heads + 2 * groups) * head_dim]: queries, keys and values.
            rotation: of the same rows; None where they were rotated before, or are not.
            attended: [rows, heads * head_dim]; the result.
        """
        places, cache = self._step.places, self._step.cache
        if places is None or cache is None:
            raise RuntimeError("no step is being computed")
        count = len(places.positions)
        attended.values[count:].zero_()
        products, layer = projected.first(count).arrays, cache.layer(self._index)
        attend(products, rotation or NOT_ROTATED, layer, places, self._rules, attended.arrays)

    def rotation(self, embeddings: tuple[torch.Tensor, torch.Tensor]) -> Rotation:
        return self._step.rotation(embeddings)

    def __call__(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """query: [1, heads, rows, head_dim]; key and value: [1, groups, rows, head_dim].

        Returns [1, rows, heads, head_dim].
        """
        _, heads, rows, head_dim = query.shape
        projected = torch.cat([part[0].transpose(0, 1).reshape(rows, -1) for part in (query, key, value)], dim=1)
        attended = Activations(torch.empty(rows, self.width, dtype=query.dtype))
        self.attend(Products(projected), None, attended)
        return attended.values.view(1, rows, heads, head_dim)


def layer_attentions(calls: Sequence[AttentionCall], step: Step) -> dict[torch.nn.Module, LayerAttention]:
    """By the modules that call them."""
    return {call.module: LayerAttention(index, call, step) for index, call in enumerate(calls)}


def serve(network: Any, attentions: Mapping[torch.nn.Module, LayerAttention]) -> None:
    """Let a network's layers attend over the cache of their step."""
    for module, attention_of_layer in attentions.items():
        serving: Any = module
        serving.slot_attention = attention_of_layer
    network.set_attn_implementation(SERVED)


def _attend(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, _mask: Any, **_: Any
) -> tuple[torch.Tensor, None]:
    return module.slot_attention(query, key, value), None


ALL_ATTENTION_FUNCTIONS.register(SERVED, _attend)
