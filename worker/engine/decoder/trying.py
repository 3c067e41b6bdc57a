"""Whether a module computes what it is taken for, told by trying it."""

from __future__ import annotations

from collections.abc import Callable

import torch

ALIKE = 1e-5  # how far a function may be from the one tried: float32's rounding, and no more
TRIED_ROWS = 3


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
    """Whether they are alike, but for rounding."""
    return theirs.shape == ours.shape and torch.allclose(theirs, ours, rtol=ALIKE, atol=ALIKE)


def random_rows(width: int, rows: int = TRIED_ROWS) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(0)) * 3


def linears_of(module: torch.nn.Module) -> tuple[list[torch.nn.Linear], list[torch.nn.Module]]:
    """A module's linear layers, and its other parts."""
    linears = [child for child in module.children() if isinstance(child, torch.nn.Linear)]
    return linears, [child for child in module.children() if not isinstance(child, torch.nn.Linear)]
