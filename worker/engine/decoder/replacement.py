"""A network's modules replaced by ours, which compute each row alike in any company, and some of them in fewer steps.

Which function a module computes is found by trying it, never by its name; one that is not known stays as it is, and the
trial (worker.engine.decoder.trial) has the last word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from worker.engine.cpu.batch_invariant import batch_invariant
from worker.engine.cpu.linear import Linear
from worker.engine.decoder.fused_attention import Examples, FusedAttention, projections_of
from worker.engine.decoder.gated_mlp import FUNCTIONS, GatedMLP, parts_of
from worker.engine.decoder.row_wise import RotaryTable, RowWiseActivation, RowWiseLinear, RowWiseNorm
from worker.engine.decoder.served_attention import LayerAttention
from worker.engine.decoder.trying import alike, is_linear, random_rows


class Replacement:
    """Replaces what it knows in a network, from float32 weights."""

    def __init__(
        self,
        dtype: str,
        positions: int,
        attentions: Mapping[torch.nn.Module, LayerAttention],
        examples: Examples,
    ) -> None:
        """
        Args:
            attentions: by the modules that call them.
            examples: of what the same modules compute.
        """
        self._dtype, self._positions, self._threads = dtype, positions, torch.get_num_threads()
        self._attentions, self._examples = attentions, examples
        self._replaced: dict[torch.nn.Module, torch.nn.Module] = {}
        self.multiple = 1  # in which rows come out alike of every layer made so far

    @torch.inference_mode()
    def apply(self, module: torch.nn.Module) -> None:
        """To its parts, and theirs."""
        for name, child in list(module.named_children()):
            if child not in self._replaced:
                self._replaced[child] = self._replacement(child)
            if self._replaced[child] is child:
                self.apply(child)
            else:
                setattr(module, name, self._replaced[child])

    def _replacement(self, module: torch.nn.Module) -> torch.nn.Module:
        if is_linear(module) or isinstance(module, Conv1D):
            return RowWiseLinear(self._product([module]), self._dtype, self._threads)
        if any(name.endswith("inv_freq") for name, _ in module.named_buffers(recurse=False)):
            return RotaryTable(module, self._positions)
        if any(True for _ in module.children()):
            return self._fused(module)
        parameters = dict(module.named_parameters())
        if not parameters:
            return self._activation(module)
        (weight, *others) = parameters.values()
        return self._norm(module, len(weight)) if not others and weight.dim() == 1 else module

    def _fused(self, module: torch.nn.Module) -> torch.nn.Module:
        """Several layers in one module, where it computes just what is usual."""
        if module in self._examples and (found := projections_of(module, self._examples[module])):
            wide, out = self._product(found.inputs), self._product([found.out])
            attention = self._attentions[module]
            return FusedAttention(module, wide, out, attention, found.rotated, self._dtype, self._threads)
        if parts := parts_of(module):
            wide, down = self._product([parts.gate, parts.up]), self._product([parts.down])
            return GatedMLP(wide, down, parts.kind, parts.gate.out_features, self._dtype, self._threads)
        return module

    def _product(self, modules: Sequence[Any]) -> Linear:
        """Linear layers that read the same rows, their outputs side by side."""
        weights = [module.weight.t() if isinstance(module, Conv1D) else module.weight for module in modules]
        biases = [module.bias for module in modules]
        bias = (
            None
            if all(part is None for part in biases)
            else torch.cat(
                [
                    torch.zeros(len(weight)) if part is None else part.detach().float()
                    for weight, part in zip(weights, biases, strict=True)
                ]
            )
        )
        weight = torch.cat([weight.detach().float() for weight in weights])
        invariant = batch_invariant(weight, bias, self._dtype, self._threads)
        self.multiple = max(self.multiple, invariant.multiple)
        return invariant.layer

    def _norm(self, module: torch.nn.Module, width: int) -> torch.nn.Module:
        """Ones come out as the weights, whatever a family adds to those."""
        epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        if not isinstance(epsilon, float):
            return module
        weight = module(torch.ones(1, width))[0] * (1 + epsilon) ** 0.5
        norm = RowWiseNorm(weight.detach().clone(), epsilon, self._threads)
        return norm if alike(module, norm, random_rows(width)) else module

    def _activation(self, module: torch.nn.Module) -> torch.nn.Module:
        for kind in FUNCTIONS:
            activation = RowWiseActivation(kind, self._threads)
            if alike(module, activation, _range_of_numbers()):
                return activation
        return module


def _range_of_numbers() -> torch.Tensor:
    return torch.linspace(-12, 12, 2048)[None]
