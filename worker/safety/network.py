"""A classifier's network on its device, as fast as that goes: a batch in, a probability by output out.

What the outputs are called, and how texts become windows, is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from worker.safety.batches import Batch
from worker.safety.linear import native_dtype, speed_up
from worker.safety.row_invariance import share_whole_rows

LEAST_WIDTH = 256
"""Narrower networks stay in float32: too few numbers for bfloat16's errors to cancel out, and no time to gain."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Encoder:
    """A network as it was read, float32."""

    module: nn.Module
    """Token ids [rows, length] and a mask to logits [rows, outputs]. The mask is what is added to the scores of
    attention, [rows, 1, 1, length]; where there are no `layers`, 1 for a token and 0 for padding, [rows, length]."""
    layers: nn.Module | None
    """The part whose linear layers may be replaced by faster ones of any dtype; None: it runs as it is, in float32."""
    width: int  # of a token between the layers
    padding: int  # the token that fills rows up


class Network:
    """The network of a checkpoint.

    In bfloat16 only the matrix products of the layers are: the embeddings, the norms, the residual stream, the softmax
    and the head, with its logits, are float32.
    """

    def __init__(self, encoder: Encoder, device: torch.device, dtype: str) -> None:
        """
        Args:
            encoder: its layers are changed.
            dtype: "auto" (bfloat16 where the device has it in hardware), "fp32" or "bf16".
        """
        self.device, self.padding = device, encoder.padding
        self._module = encoder.module.to(device)
        self._adds_mask = encoder.layers is not None
        self.dtype = torch.float32
        if encoder.layers is not None:
            wide = encoder.width >= LEAST_WIDTH
            native = native_dtype(device) if wide else torch.float32
            self.dtype = native if dtype == "auto" else DTYPES[dtype]
            speed_up(encoder.layers, self.dtype, device)
            speed_up(encoder.module, torch.float32, device)  # the rest: of embeddings and the head
            if device.type == "cpu":
                share_whole_rows(encoder.layers)

    @torch.inference_mode()
    def probabilities(self, batch: Batch) -> torch.Tensor:
        """[windows, outputs], float32, on the CPU."""
        rows = [window.tokens + [self.padding] * (batch.length - len(window.tokens)) for window in batch.windows]
        rows += [[self.padding] * batch.length] * (batch.rows - len(rows))
        tokens = torch.tensor(rows).to(self.device)  # [rows, length]
        logits = self._module(tokens, self._mask(batch))  # [rows, outputs]
        # Row by row: how a number rounds depends on its place among those that are computed at once.
        return torch.stack([torch.sigmoid(row) for row in logits[: len(batch.windows)].float().cpu()])

    def _mask(self, batch: Batch) -> torch.Tensor:
        lengths = torch.zeros(batch.rows, dtype=torch.long)
        lengths[: len(batch.windows)] = torch.tensor([len(window.tokens) for window in batch.windows])
        lengths[len(batch.windows) :] = batch.length  # nobody reads what comes of the empty ones
        real = torch.arange(batch.length) < lengths[:, None]  # [rows, length]
        if not self._adds_mask:
            return real.long().to(self.device)
        # Never none, even of a batch without padding: attention would compute otherwise.
        # Added to the scores, and so in their dtype: transformers would make one of the embeddings' dtype.
        mask = torch.zeros(len(lengths), 1, 1, batch.length, dtype=self.dtype)
        return mask.masked_fill(~real[:, None, None], torch.finfo(self.dtype).min).to(self.device)
