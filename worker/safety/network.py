"""A classifier's network on its device, as fast as that goes: a batch in, a probability by output out.

What the outputs are called, and how texts become windows, is not known here.
"""

from __future__ import annotations

from typing import Any

import torch

from worker.safety.batches import Batch
from worker.safety.linear import native_dtype, speed_up

LAYERS = {
    "albert": "encoder.albert_layer_groups",
    "bert": "encoder.layer",
    "roberta": "encoder.layer",
    "xlm-roberta": "encoder.layer",
}
"""Where a family of Detoxify's own checkpoints has its layers. Any other runs as transformers has it, in float32."""

LEAST_WIDTH = 256
"""Narrower networks stay in float32: too few numbers for bfloat16's errors to cancel out, and no time to gain."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Network:
    """The model of a checkpoint.

    In bfloat16 only the matrix products of the layers are: the embeddings, the norms, the residual stream, the softmax
    and the head, with its logits, are float32.
    """

    def __init__(self, model: Any, device: torch.device, dtype: str) -> None:
        """
        Args:
            model: of transformers, for sequence classification, float32; it is changed.
            dtype: "auto" (bfloat16 where the device has it in hardware), "fp32" or "bf16".
        """
        self.device, self._model = device, model.to(device)
        # RoBERTa counts positions by the model's padding token, so the model decides, not the tokenizer.
        self.padding = int(model.config.pad_token_id or 0)
        self._known = model.config.model_type in LAYERS
        self.dtype = self._choose(dtype) if self._known else torch.float32
        if self._known:
            layers = self._model.base_model.get_submodule(LAYERS[model.config.model_type])
            speed_up(layers, self.dtype, device)

    def _choose(self, asked: str) -> torch.dtype:
        if asked != "auto":
            return DTYPES[asked]
        return native_dtype(self.device) if self._model.config.hidden_size >= LEAST_WIDTH else torch.float32

    @torch.inference_mode()
    def probabilities(self, batch: Batch) -> torch.Tensor:
        """[windows, outputs], float32, on the CPU."""
        rows = [window.tokens + [self.padding] * (batch.length - len(window.tokens)) for window in batch.windows]
        rows += [[self.padding] * batch.length] * (batch.rows - len(rows))
        tokens = torch.tensor(rows).to(self.device)  # [rows, length]
        logits = self._model(input_ids=tokens, attention_mask=self._mask(batch)).logits  # [rows, outputs]
        return torch.sigmoid(logits[: len(batch.windows)].float()).cpu()

    def _mask(self, batch: Batch) -> torch.Tensor | None:
        lengths = torch.zeros(batch.rows, dtype=torch.long)
        lengths[: len(batch.windows)] = torch.tensor([len(window.tokens) for window in batch.windows])
        lengths[len(batch.windows) :] = batch.length  # nobody reads what comes of the empty ones
        real = torch.arange(batch.length) < lengths[:, None]  # [rows, length]
        if not self._known:
            return real.long().to(self.device)
        if real.all():
            return None
        # Added to the scores, and so in their dtype: transformers would make one of the embeddings' dtype.
        mask = torch.zeros(len(lengths), 1, 1, batch.length, dtype=self.dtype)
        return mask.masked_fill(~real[:, None, None], torch.finfo(self.dtype).min).to(self.device)
