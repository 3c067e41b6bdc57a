"""The perplexity of a model on a text, in fp32: through the slot engine's forward pass, or transformers' own.

Which text it is, and where the model comes from, is not known here.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from worker.engine.forward import Rows
from worker.evaluation.windows import windows

Tokens = npt.NDArray[Any]
Alive = Callable[[], object]

ROWS = 512
"""Tokens that one forward pass computes at most, so that the logits of a long window take little memory."""

NO_LIMIT = 1024
"""The windows of a model that has no largest position."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well a model predicts a text."""

    nll_sum: float  # the negative log-likelihood of all tokens but the first, natural logarithm
    tokens: int  # of the text, the first one among them, which nothing predicts

    @property
    def perplexity(self) -> float:
        """Infinite where the mean is too large for a number."""
        mean = self.nll_sum / (self.tokens - 1)
        return math.inf if mean > 700 else math.exp(mean)

    def bits_per_byte(self, size: int) -> float:
        """
        Args:
            size: of the whole text, in bytes of UTF-8.
        """
        return self.nll_sum / math.log(2) / size


def evaluate(model: Any, tokens: Tokens, positions: int, alive: Alive = lambda: None) -> Evaluation:
    """
    Args:
        model: one of the slot engine's (worker.engine.load.slot_model) in fp32, or a causal network of transformers
            in float32, on any device; it comes back in the mode it was in.
        tokens: [tokens], any integers; no start token is put before them.
        positions: of the model; see `windows`.
        alive: called after every forward pass.

    Raises:
        ValueError: fewer than two tokens, or than two positions.
    """
    if len(tokens) < 2 or positions < 2:
        raise ValueError(f"nothing to predict: {len(tokens)} tokens in windows of {positions}")
    total = 0.0
    with _window_nll(model) as window_nll:
        for window in windows(len(tokens), positions):
            part = np.asarray(tokens[window.start : window.end]).astype(np.int64)
            total += window_nll(part, window.scored - window.start, alive)
    return Evaluation(total, len(tokens))


def positions_of(model: Any) -> int:
    """How many positions a model has, of either kind."""
    if hasattr(model, "new_cache"):
        return int(model.positions)
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or NO_LIMIT)


def pass_count(tokens: int, positions: int) -> int:
    """How many forward passes an evaluation takes."""
    return sum(len(list(_passes(window.end - window.start - 1))) for window in windows(tokens, positions))


@contextmanager
def _window_nll(model: Any) -> Iterator[Callable[[Tokens, int, Alive], float]]:
    """What gives the negative log-likelihood of a window's tokens from one of them on."""
    if hasattr(model, "new_cache"):
        yield _SlotModel(model).nll
        return
    training = model.training
    model.eval()
    try:
        yield _Network(model).nll
    finally:
        model.train(training)


class _SlotModel:
    """One of the slot engine's models: it computes logits only of the tokens that count."""

    def __init__(self, model: Any) -> None:
        self._model, self._cache = model, model.new_cache(1)

    def nll(self, tokens: Tokens, scored: int, alive: Alive) -> float:
        total = 0.0
        self._cache.reserve(0, len(tokens))
        for first, end in _passes(len(tokens) - 1):
            wanted = np.arange(max(first, scored - 1), end) - first
            positions = np.arange(first, end)
            rows = Rows(tokens[first:end], positions, np.zeros(end - first, np.int64), wanted)
            logits = self._model.forward(rows, self._cache).values[: len(wanted), : self._model.vocabulary]
            total += _nll(logits, tokens[first + wanted + 1])
            alive()
        self._cache.release(0)
        return total


class _Network:
    """A network of transformers."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self._keeps_keys = "past_key_values" in inspect.signature(network.forward).parameters

    @torch.no_grad()  # inference mode would leave tensors behind that training cannot use
    def nll(self, tokens: Tokens, scored: int, alive: Alive) -> float:
        total = 0.0
        past: dict[str, Any] = {}
        ids = torch.from_numpy(tokens).to(self._network.device)
        for first, end in _passes(len(tokens) - 1, ROWS if self._keeps_keys else len(tokens)):
            output = self._network(input_ids=ids[None, first:end], **past)
            if self._keeps_keys:
                past = {"past_key_values": output.past_key_values}
            wanted = np.arange(max(first, scored - 1), end)
            total += _nll(output.logits[0, wanted - first], tokens[wanted + 1])
            alive()
        return total


def _passes(tokens: int, rows: int = ROWS) -> Iterator[tuple[int, int]]:
    for first in range(0, tokens, rows):
        yield first, min(first + rows, tokens)


def _nll(logits: torch.Tensor, targets: Tokens) -> float:
    """
    Args:
        logits: [tokens, vocabulary]; a number added to a whole row changes nothing.
        targets: [tokens], what came.
    """
    expected = torch.from_numpy(targets).to(logits.device)
    losses = torch.nn.functional.cross_entropy(logits.float(), expected, reduction="none")
    return float(losses.double().sum())
