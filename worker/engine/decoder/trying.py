"""Whether a module computes what it is taken for, told by trying it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeGuard

import torch

ALIKE = 1e-5  # how far a function may be from the one tried: float32's rounding, and no more
TRIED_ROWS = 3
LARGE = 1e3  # times what a layer usually reads


def alike(
    module: Callable[[torch.Tensor], object], ours: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor
) -> bool:
    """Whether both compute the same of rows, but for rounding."""
    try:
        theirs = module(rows.clone())
    except Exception:  # it takes other arguments
        return False
    return isinstance(theirs, torch.Tensor) and same_numbers(theirs, ours(rows))


def same_numbers(theirs: torch.Tensor, ours: torch.Tensor) -> bool:
    """Whether they are alike, but for rounding, which is measured by the largest."""
    if theirs.shape != ours.shape:
        return False
    return torch.allclose(theirs, ours, rtol=ALIKE, atol=ALIKE * float(theirs.abs().max()))


def random_rows(width: int) -> torch.Tensor:
    return torch.randn(TRIED_ROWS, width, generator=torch.Generator().manual_seed(0)) * 3


def linears_of(module: torch.nn.Module) -> tuple[list[torch.nn.Linear], list[torch.nn.Module]]:
    """A module's linear layers, and its other parts."""
    linears = [child for child in module.children() if is_linear(child)]
    return linears, [child for child in module.children() if child not in linears]


def is_linear(module: torch.nn.Module) -> TypeGuard[torch.nn.Linear]:
    """Whether a module is torch's linear layer, and no other that is made of one."""
    return isinstance(module, torch.nn.Linear) and type(module).forward is torch.nn.Linear.forward
