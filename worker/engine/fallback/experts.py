"""Experts in products that always have as many rows: a token's bits do not depend on how many others an expert got.

transformers' own implementations multiply as many rows as there happen to be, or copy an expert's weights for each
token.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from transformers.integrations import moe

EXPERTS = "inkmill"  # the name of an experts implementation of transformers
BLOCK = 16
"""Rows of one product."""


def experts_in_blocks(module: Any, hidden: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """
    Args:
        module: with the weights of all experts.
        hidden: [tokens, width].
        chosen: [tokens, experts a token], each token's experts.
        weights: the same, how much each counts.

    Returns [tokens, width].
    """
    each, computed = chosen.shape[1], hidden.repeat_interleave(chosen.shape[1], dim=0)
    numbers: Any = chosen.reshape(-1)  # its `unique` is untyped
    for expert in numbers.unique().tolist():
        for rows in torch.split((numbers == expert).nonzero().flatten(), BLOCK):
            filled = torch.cat([rows, rows[:1].expand(BLOCK - len(rows))])
            computed[rows] = _one_expert(module, expert, computed[filled])[: len(rows)]
    weighted = computed * weights.reshape(-1, 1)
    return weighted.view(len(hidden), each, -1).sum(dim=1).to(hidden.dtype)


def _one_expert(module: Any, expert: int, rows: torch.Tensor) -> torch.Tensor:
    if module.has_gate:
        inner = module._apply_gate(_product(module, "gate_up_proj", expert, rows))
    else:
        inner = module.act_fn(_product(module, "up_proj", expert, rows))
    outer = _product(module, "down_proj", expert, inner)
    return module.post_expert_norm(outer) if getattr(module, "has_post_expert_norm", False) else outer


def _product(module: Any, name: str, expert: int, rows: torch.Tensor) -> torch.Tensor:
    weight = getattr(module, name)[expert]
    bias = getattr(module, f"{name}_bias")[expert] if module.has_bias else None
    return F.linear(rows, weight.t() if module.is_transposed else weight, bias)


registry: Any = moe.ALL_EXPERTS_FUNCTIONS  # untyped
registry.register(EXPERTS, experts_in_blocks)
