"""Attention on a GPU as a Triton kernel. Imported only where there is a GPU, or where Triton's interpreter is on.

The same arithmetic as `worker.engine.cuda.attention.by_pages`, which says what goes in and what comes out.
"""

# No postponed annotations here: Triton looks at a kernel's own, and knows what is in `tl` only.

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
import triton
import triton.language as tl

from worker.engine.kv_cache import BLOCK

Function = TypeVar("Function", bound=Callable[..., Any])

WARPS = 1  # a row and head have little work: no warp has to wait for another, and many fit on a multiprocessor


def kernel(function: Function) -> Any:
    return cast("Any", triton.jit(function))


@kernel
def attend_row(
    projected: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    tables: tl.tensor,
    positions: tl.tensor,
    mixed: tl.tensor,
    scale: tl.tensor,
    table_stride: tl.tensor,
    position_stride: tl.tensor,
    heads: tl.tensor,
    head_dim: tl.constexpr,
    padded_dim: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """One row's one head. Pages are taken in order, so that a row's bits depend on nothing but the row."""
    row, head = tl.program_id(0), tl.program_id(1)
    numbers, places = tl.arange(0, padded_dim), tl.arange(0, block)
    real = numbers < head_dim
    query = tl.load(projected + (3 * row * heads + head) * head_dim + numbers, mask=real, other=0.0)
    query = query.to(tl.float32) * scale
    length = tl.load(positions + row * position_stride) + 1
    highest, total = -float("inf"), 0.0
    sums = tl.zeros([padded_dim], tl.float32)
    for page in range(tl.cdiv(length, block)):
        # 64 bits: a large cache has more numbers than 32 bits can count.
        start = (tl.load(tables + row * table_stride + page).to(tl.int64) * heads + head) * block * head_dim
        at = start + places[:, None] * head_dim + numbers[None, :]  # [block, padded_dim]
        seen = page * block + places < length
        mask = seen[:, None] & real[None, :]
        key = tl.load(keys + at, mask=mask, other=0.0).to(tl.float32)
        value = tl.load(values + at, mask=mask, other=0.0).to(tl.float32)
        scores = tl.where(seen, tl.sum(key * query[None, :], 1), -float("inf"))  # [block]
        largest = tl.maximum(highest, tl.max(scores, 0))
        shrink, weights = tl.exp(highest - largest), tl.exp(scores - largest)
        total = total * shrink + tl.sum(weights, 0)
        sums = sums * shrink + tl.sum(weights[:, None] * value, 0)
        highest = largest
    result = (sums / total).to(mixed.dtype.element_ty)
    tl.store(mixed + (row * heads + head) * head_dim + numbers, result, mask=real)


def by_kernel(
    projected: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    tables: torch.Tensor,
    positions: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """As `by_pages`, in one launch."""
    rows, (heads, head_dim) = projected.shape[0], (keys.shape[1], keys.shape[3])
    mixed = torch.empty(rows, heads * head_dim, dtype=projected.dtype, device=projected.device)
    attend_row[(rows, heads)](
        projected,
        keys,
        values,
        tables,
        positions,
        mixed,
        scale,
        tables.stride(0),
        positions.stride(0),
        heads,
        head_dim,
        triton.next_power_of_2(head_dim),
        BLOCK,
        num_warps=WARPS,
    )
    return mixed
