"""Parts of a network that give a row the same bits whatever rows are computed beside it.

What products need for that is found by the engine's trial. What model a part belongs to is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from worker.engine.cpu.batch_invariant import row_multiple_of
from worker.engine.cpu.linear import BLOCK, Activations, Products, row_multiple

HEAD_ROWS = 8
"""Windows that go through the head together, always so many: so few that no thread shares them with another."""
TRIAL_ROWS = 2048
"""As many as a forward pass has on a CPU; numbers between the engine's and this one are tried besides its own."""
SHARED_NUMBERS = 32_768
"""torch computes so many numbers on one thread (at::internal::GRAIN_SIZE)."""
VECTOR = 64  # numbers; two vectors of the smallest type, which torch computes at once
LARGE_COUNTS = (512, 514, 776, 1024, 1026, 1544, 1900, 1920)

Product = Callable[[torch.Tensor], torch.Tensor]
"""[rows, in] to [rows, out]."""


class RowInvariant(nn.Module):
    """A linear layer in whose products no row depends on the number of rows."""

    def __init__(self, product: Product, kind: tuple[object, ...], dtype: torch.dtype) -> None:
        """
        Args:
            kind: what decides which kernels the product takes, beside its dtype and the number of threads; its shape,
                [out, in], comes last.
        """
        super().__init__()
        named = ("scorer", *kind, str(dtype), torch.get_num_threads())
        multiple = row_multiple_of(named, lambda: _multiple(product, kind[-1], dtype))
        self._product = product if multiple else _in_blocks(product)
        self._step = multiple or BLOCK

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """[…, in] to […, out]."""
        flat = rows.reshape(-1, rows.shape[-1])
        missing = -len(flat) % self._step
        result = self._product(F.pad(flat, (0, 0, 0, missing)) if missing else flat)[: len(flat)]
        return result.view(*rows.shape[:-1], -1)


def _in_blocks(product: Product) -> Product:
    return lambda rows: torch.cat([product(block) for block in torch.split(rows, BLOCK)])


@torch.inference_mode()
def _multiple(product: Product, width: Any, dtype: torch.dtype) -> int | None:
    rows = torch.randn(TRIAL_ROWS, width, generator=torch.Generator().manual_seed(0)).to(dtype)
    many = product(rows)
    if not all(torch.equal(product(rows[-count:].clone()), many[-count:]) for count in LARGE_COUNTS):
        return None
    return row_multiple(lambda some: Products(product(some.values)), Activations(rows))


class Elementwise(nn.Module):
    """An activation in which it does not matter which thread comes to a row.

    torch shares numbers out, not rows, and computes what fills no vector at the end of a share another way. So every
    share gets whole rows, each filled up to whole vectors: as many rows for each thread as there are, and what is left
    in calls too small to share.
    """

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """[…, width] to […, width]."""
        flat = F.pad(rows.reshape(-1, rows.shape[-1]), (0, -rows.shape[-1] % VECTOR))
        threads, width = torch.get_num_threads(), flat.shape[1]
        shared = len(flat) // threads * threads
        if shared * width < threads * SHARED_NUMBERS:
            shared = 0
        left = torch.split(flat[shared:], max(SHARED_NUMBERS // width, 1))
        blocks = [flat[:shared], *left] if shared else left
        return torch.cat([self.activation(block) for block in blocks])[:, : rows.shape[-1]].reshape(rows.shape)


def share_whole_rows(module: nn.Module) -> None:
    """Makes the activations below `module` that transformers names so share whole rows among threads."""
    for part in list(module.modules()):
        for name in ("intermediate_act_fn", "activation"):
            if isinstance(activation := getattr(part, name, None), nn.Module):
                setattr(part, name, Elementwise(activation))


class Head(nn.Module):
    """What makes one result of each window: always of as many windows, whatever their number."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """[windows, …] to [windows, …]."""
        missing = -len(windows) % HEAD_ROWS
        filled = torch.cat([windows, windows[:1].expand(missing, *windows.shape[1:])]) if missing else windows
        return torch.cat([self.head(block) for block in torch.split(filled, HEAD_ROWS)])[: len(windows)]
