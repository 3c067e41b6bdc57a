"""Linear layers with the multiple of rows, found by trying, in which a row's bits depend on no other row."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from worker.engine.compiled.kept_results import kept_result
from worker.engine.cpu.linear import BLOCK, MULTIPLES, BlockedLinear, Linear, linear, row_multiple, trial_rows


class InvariantLinear(NamedTuple):
    layer: Linear
    multiple: int  # how many rows it has to be given, or a multiple of that


def batch_invariant(
    weight: torch.Tensor, bias: torch.Tensor | None, dtype: str, threads: int, *, gelu: bool = False
) -> InvariantLinear:
    """
    Args:
        weight: [out, in].
        bias: [out], float32.
        dtype: one of contract.spec.DTYPES.
        threads: how many compute it.
        gelu: whether GELU follows, as `activated` has it.
    """
    layer = linear(weight, bias, dtype, threads)
    kind = (*weight.shape, gelu, dtype, threads)  # its weights do not matter
    product = layer.activated if gelu else layer
    rows = (weight.shape[1], dtype, threads)
    multiple = row_multiple_of(kind, lambda: row_multiple(product, trial_rows(*rows)))
    return InvariantLinear(layer, multiple) if multiple else InvariantLinear(BlockedLinear(layer), BLOCK)


def row_multiple_of(kind: tuple[object, ...], measure: Callable[[], int | None]) -> int | None:
    """What `measure` returns, or returned before on this machine for a product of that kind.

    Args:
        kind: what decides which kernels a product takes: its shape, GELU, dtype and number of threads.
    """
    multiple: int | None = kept_result("rows", kind, measure, _possible)
    return multiple


def _possible(multiple: object) -> bool:
    return multiple is None or (type(multiple) is int and multiple in MULTIPLES)
