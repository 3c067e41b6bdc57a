"""How a network earns the slots: the same answers as transformers' own forward, and the same bits in any company.

Nobody keeps a list of architectures: a new release of transformers cannot make texts wrong in silence.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from worker.engine.decoder.decoder import Decoder
from worker.engine.decoder.survey import Survey, survey
from worker.engine.forward import Indices, Rows
from worker.engine.kv_cache import KVCache

LENGTHS = (1, 2, 3, 5, 8, 13, 21, 34, 55, 242)
"""Of the texts that are computed alone and together; together they have as many rows as a step has."""
EXACT = 1e-3
"""In fp32: how far a logit may be from transformers' own, as a share of the largest."""

CLOSE = {"fp32": EXACT, "bf16": 0.1, "int8": 0.25}
"""In the dtype that is served: the same, as the root of the mean square."""


class Reference:
    """What transformers itself computes, before a network is changed."""

    def __init__(self, network: Any) -> None:
        """network: float32."""
        found = survey(network)
        self.texts = _texts(found)
        attention = network.config._attn_implementation
        try:
            self.shallow_error = _shallow_error(network, found, self.texts[-3:])
            self.logits = _own_logits(network, self.texts[-1])
        finally:
            network.set_attn_implementation(attention)


def verdict(decoder: Decoder, reference: Reference) -> str | None:
    """Why a decoder does not earn the slots; None where it does. The reason completes "because"."""
    if not reference.shallow_error <= EXACT:
        return f"its first layers are off by {reference.shallow_error:.2g} of the largest logit in fp32"
    together = _logits(decoder, reference.texts)
    error = _mean_error(together[-1], reference.logits)
    if not error <= CLOSE[decoder.dtype]:
        return f"its logits are off by {error:.2g} of their size in {decoder.dtype}"
    if not _same_in_company(decoder, reference.texts) or not _same_in_parts(decoder, reference.texts, together):
        return f"a text's bits depend on the texts beside it in {decoder.dtype} with {decoder.threads} threads"
    return None


def _texts(found: Survey) -> list[Indices]:
    """Texts of random tokens, as long as the window allows."""
    numbers = np.random.default_rng(0)
    return [numbers.integers(0, found.vocabulary, min(length, found.positions)) for length in LENGTHS]


def _shallow_error(network: Any, found: Survey, texts: Sequence[Indices]) -> float:
    """How far we are from transformers in fp32, by the first layers and the head, at the window's beginning and end."""
    places = (0, found.positions - max(map(len, texts)))
    with _shallow(network, _layers_needed(found), len(found.calls)):
        theirs = [_own_logits(network, text, place) for place in places for text in texts]
        decoder = Decoder(copy.deepcopy(network), "fp32")
        ours = [logits for place in places for logits in _logits(decoder, texts, [place] * len(texts))]
    largest = max(float(logits.abs().max()) for logits in theirs)
    return max(float((one - other).abs().max()) for one, other in zip(ours, theirs, strict=True)) / largest


def _layers_needed(found: Survey) -> int:
    """As many as have an example of each kind, and two at least."""
    kinds = [(call.window, call.cap, call.sinks is None) for call in found.calls]
    return max(2, *(kinds.index(kind) + 1 for kind in kinds))


@contextmanager
def _shallow(network: Any, kept: int, layers: int) -> Any:
    """With the first layers alone."""
    lists = [
        (module, name, child)
        for module in network.modules()
        for name, child in module.named_children()
        if isinstance(child, torch.nn.ModuleList) and len(child) == layers
    ]
    for module, name, child in lists:
        setattr(module, name, child[:kept])
    try:
        yield
    finally:
        for module, name, child in lists:
            setattr(module, name, child)


@torch.inference_mode()
def _own_logits(network: Any, text: Indices, place: int = 0) -> torch.Tensor:
    """[tokens, vocabulary], for a text whose first token has that position."""
    network.set_attn_implementation("eager")
    tokens, places = torch.from_numpy(text)[None], torch.arange(place, place + len(text))[None]
    logits: torch.Tensor = network(input_ids=tokens, position_ids=places, use_cache=False).logits[0]
    return logits


def _same_in_company(decoder: Decoder, texts: Sequence[Indices]) -> bool:
    """Whether each text comes out alike alone and with the others, of which some are at the window's end; and there."""
    end = decoder.positions - max(map(len, texts))
    for places in ((0, end), (end, 0)):
        ahead = [places[number % 2] for number in range(len(texts))]
        together = _logits(decoder, texts, ahead)
        alone = (_logits(decoder, [text], [place])[0] for text, place in zip(texts, ahead, strict=True))
        if not all(map(torch.equal, alone, together)):
            return False
    return True


def _cache(decoder: Decoder, texts: Sequence[Indices]) -> KVCache:
    """Room for these, where a slot of the decoder's own may take gigabytes."""
    longest = max(map(len, texts))
    cache = KVCache(replace(decoder.cache_shape, positions=longest), len(texts), torch.device("cpu"))
    for slot, text in enumerate(texts):
        cache.reserve(slot, len(text))
    return cache


def _logits(decoder: Decoder, texts: Sequence[Indices], ahead: Sequence[int] | None = None) -> list[torch.Tensor]:
    """Of every token of every text, in one step.

    Args:
        ahead: how much further on than it is a text is taken to be; None = not at all.
    """
    cache, lengths = _cache(decoder, texts), [len(text) for text in texts]
    rows = Rows(
        tokens=np.concatenate(texts),
        positions=np.concatenate([np.arange(length) for length in lengths]),
        slots=np.repeat(np.arange(len(texts)), lengths),
        wanted=np.arange(sum(lengths)),
    )
    shifts = np.repeat(ahead or [0] * len(texts), lengths)
    return list(torch.split(decoder.forward(rows, cache, shifts).values.clone().float(), lengths))


def _same_in_parts(decoder: Decoder, texts: Sequence[Indices], whole: Sequence[torch.Tensor]) -> bool:
    """Whether the longest text's last token comes out alike when it is read in steps, as texts are written."""
    text, cache = texts[-1], _cache(decoder, texts[-1:])
    cuts = [0, len(text) // 3, len(text) - 1, len(text)]
    for start, end in pairwise(cuts):
        positions = np.arange(start, end)
        rows = Rows(text[start:end], positions, np.zeros_like(positions), np.array([end - start - 1]))
        last = decoder.forward(rows, cache).values.float()
    return torch.equal(last[0], whole[-1][-1])


def _mean_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The root of the mean square of what differs, as a share of the logits' own; a row's mean is left out."""
    ours, theirs = (logits - logits.mean(dim=-1, keepdim=True) for logits in (ours, theirs))
    return float((ours - theirs).square().mean().sqrt() / theirs.square().mean().sqrt())
