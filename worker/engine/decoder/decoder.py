"""A causal model's forward pass on a CPU, over a key-value cache with slots: transformers' layers, our attention.

Which architecture it is, is not known here, and texts and scheduling are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from worker.engine.compiled.compiling import ensure_compiled
from worker.engine.cpu.attention import CacheRows, share_out
from worker.engine.decoder.fused_attention import examples_of
from worker.engine.decoder.replacement import Replacement
from worker.engine.decoder.served_attention import Step, layer_attentions, serve
from worker.engine.decoder.survey import survey
from worker.engine.forward import Indices, Logits, Rows
from worker.engine.kv_cache import CacheShape, KVCache
from worker.engine.load.casting import cast
from worker.engine.sampling.sampler import Choice, sample
from worker.engine.sampling.state import SamplingState
from worker.padding import filled_up

ROWS_APART = 32
"""Padding costs one row in so many at most."""


class Decoder:
    """The model. A row comes out with the same bits whatever rows are computed beside it; `trial` makes sure."""

    def __init__(self, network: Any, dtype: str) -> None:
        """
        Args:
            network: of transformers, float32, on the CPU; it is changed, and belongs to this from here on.
            dtype: one of contract.spec.DTYPES; what weights and products are computed in.

        Raises:
            Unsupported: its layers ask for something that this engine does not have.
        """
        found = survey(network)
        self.dtype, self.threads = dtype, torch.get_num_threads()
        self.positions, self.vocabulary = found.positions, found.vocabulary
        cached = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}[dtype]
        first = found.first
        self.cache_shape = CacheShape(len(found.calls), first.groups, found.positions, first.head_dim, cached)
        ensure_compiled(dtype, "decoder")
        self._step = Step()
        attentions = layer_attentions(found.calls, self._step)
        examples = examples_of(network, found.calls, found.positions)
        replacement = Replacement(dtype, found.positions, attentions, examples)
        replacement.apply(network)
        self.multiple = replacement.multiple
        serve(network, attentions)
        if dtype == "bf16":
            cast(network, torch.device("cpu"), torch.bfloat16)
        self._network = network

    def new_cache(self, slots: int) -> KVCache:
        return KVCache(self.cache_shape, slots, torch.device("cpu"))

    @torch.inference_mode()
    def forward(self, rows: Rows, cache: KVCache, ahead: Indices | None = None) -> Logits:
        """Compute rows, and store their keys and values.

        Args:
            ahead: [rows], how many positions further on the layers take each to be than it is in the cache: so a trial
                needs no text that fills the window.
        """
        padded = filled_up(len(rows.tokens), ROWS_APART, self.multiple)
        wanted = filled_up(max(len(rows.wanted), 1), ROWS_APART, self.multiple)  # layers have no product of no rows
        places = CacheRows(cache.tables[rows.slots], rows.positions, share_out(rows.positions, self.threads))
        with self._step.of(places, cache):
            logits = self._network(
                input_ids=_extended(rows.tokens, padded)[None],
                position_ids=_extended(rows.positions if ahead is None else rows.positions + ahead, padded)[None],
                use_cache=False,
                logits_to_keep=_extended(rows.wanted, wanted),
            ).logits[0]
        return Logits(logits[: len(rows.wanted)], np.zeros(len(rows.wanted), np.float32))

    def sample(self, logits: Logits, states: Sequence[SamplingState]) -> list[Choice | Exception]:
        """Of the logits that `forward` gave; see worker.engine.sampling.sampler."""
        return sample(logits, states)


def _extended(numbers: Indices, count: int) -> torch.Tensor:
    """Filled up with zeros."""
    return torch.from_numpy(np.concatenate([numbers, np.zeros(count - len(numbers), np.int64)]))
