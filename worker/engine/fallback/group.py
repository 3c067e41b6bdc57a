"""A group of texts beside each other in transformers' own forward pass, padded on the left to one width.

How a row rounds may depend on the shapes of what is computed, so these depend on nothing but each row itself: a group
has as many rows whoever is missing, and only texts of one width stand together. Sampling is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch

from worker.engine.decoder.survey import Unsupported

ROWS = 16
CHUNK_TOKENS = 512
"""Of prompts, computed in one step: no step lasts long."""
NARROWEST = 32
GIBIBYTE = 2**30
UNLIMITED = 2**31
"""Positions of a model that does not say how many it has."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a text's computation looks like."""

    rows: int
    width: int  # columns of the prompts, padding included


class PaddedModel:
    """A network of transformers that takes padded texts beside each other; `trial` says which ones may be."""

    def __init__(self, network: Any) -> None:
        """
        Raises:
            Unsupported: it takes no padding, or keeps no keys and values of every token.
        """
        takes = signature(network.forward).parameters
        for argument in ("attention_mask", "past_key_values", "logits_to_keep"):
            if argument not in takes:
                raise Unsupported(f"its forward pass takes no {argument}")
        if getattr(network, "_is_stateful", False):
            raise Unsupported("it is recurrent")
        config = network.config.get_text_config()
        self.network, self.vocabulary = network, int(config.vocab_size)
        self.positions = int(getattr(config, "max_position_embeddings", None) or UNLIMITED)
        self.takes_positions = "position_ids" in takes
        self._most_columns = _room(network) // (ROWS * _column_bytes(network, config))

    def shape(self, prompt_tokens: int, new_tokens: int) -> Shape:
        """That of one text, which follows from the text and the model alone. Long texts, whose keys and values would
        take too much memory in a group, have a row to themselves."""
        width = NARROWEST
        while width < prompt_tokens:
            width *= 2
        if width + new_tokens > self.positions:  # some models have no room for more columns than positions
            width = prompt_tokens
        return Shape(ROWS if width + new_tokens <= self._most_columns else 1, width)


class Group:
    """Texts that are computed together, from their prompts on."""

    def __init__(
        self, model: PaddedModel, shape: Shape, prompts: Mapping[int, list[int]], ahead: torch.Tensor | None = None
    ) -> None:
        """
        Args:
            prompts: row -> token ids; rows without one are computed as well, with the first prompt.
            ahead: [rows], how many positions further on rows are taken to be than they are: so a trial needs no text
                that fills the window.
        """
        self._model, self._ahead = model, ahead
        self._tokens = torch.zeros(shape.rows, shape.width, dtype=torch.long)
        self._mask = torch.zeros_like(self._tokens)
        first = next(iter(prompts.values()))
        for row in range(shape.rows):
            prompt = prompts.get(row, first)
            self._tokens[row, shape.width - len(prompt) :] = torch.tensor(prompt)
            self._mask[row, shape.width - len(prompt) :] = 1
        self._chunk = CHUNK_TOKENS // shape.rows
        self._computed, self._cache = 0, None

    def forward(self, newest: Mapping[int, int]) -> torch.Tensor | None:
        """Compute the next columns.

        Args:
            newest: row -> the token that was sampled for it last; looked at where every column was computed.

        Returns:
            [rows, vocabulary], float32, behind the last column; None where it was not reached yet.
        """
        if self._computed == self._tokens.shape[1]:
            self._append(newest)
        end = min(self._computed + self._chunk, self._tokens.shape[1])
        logits = self._logits(self._computed, end)
        self._computed = end
        return logits if end == self._tokens.shape[1] else None

    def _append(self, newest: Mapping[int, int]) -> None:
        column = torch.zeros(len(self._tokens), 1, dtype=torch.long)
        for row, token in newest.items():
            column[row] = token
        self._tokens = torch.cat([self._tokens, column], dim=1)
        self._mask = torch.cat([self._mask, torch.ones_like(column)], dim=1)

    @torch.inference_mode()
    def _logits(self, start: int, end: int) -> torch.Tensor:
        model, device = self._model, self._model.network.device
        named = {"position_ids": self._positions()[:, start:end].to(device)} if model.takes_positions else {}
        output = model.network(
            input_ids=self._tokens[:, start:end].to(device),
            attention_mask=self._mask[:, :end].to(device),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
            **named,
        )
        self._cache = output.past_key_values
        logits: torch.Tensor = output.logits[:, -1].float().cpu()
        return logits

    def _positions(self) -> torch.Tensor:
        """[rows, columns]. Rows whose text has ended are computed on, and stay within the window."""
        positions = self._mask.cumsum(dim=1) - 1
        if self._ahead is not None:
            positions += self._ahead[:, None]
        return positions.clamp(0, self._model.positions - 1)


def _room(network: Any) -> int:
    """How many bytes a group's keys and values may take. The model alone says so, since shapes follow from it."""
    weights = sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())
    return int(max(GIBIBYTE, weights // 2))


def _column_bytes(network: Any, config: Any) -> int:
    """Of the keys and values of one token, about."""
    heads = int(config.num_attention_heads)
    groups = getattr(config, "num_key_value_heads", None) or heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    return 2 * int(config.num_hidden_layers) * int(groups * head_dim) * int(network.dtype.itemsize)
