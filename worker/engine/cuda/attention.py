"""Attention on a GPU: every row over its own sequence's keys and values, just as far as it is long.

A Triton kernel reads the cache as it lies, in blocks of 32 positions that a sequence's table names, in bf16 and
in fp32. FlashAttention as torch has it reads other layouts, no fp32, and cuts long rows as it sees fit for the
batch; FlexAttention needs a compiler's tuning for each shape. Nothing here was measured on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import torch

from worker.engine.kv_cache import BLOCK

Attention = Callable[..., torch.Tensor]


def attention(device: torch.device) -> Attention:
    """The function for a device: the Triton kernel on a GPU that has Triton, else `by_pages`."""
    if device.type == "cuda" and find_spec("triton") is not None:
        from worker.engine.cuda.attention_triton import by_kernel

        return by_kernel
    return by_pages


def store(
    projected: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    blocks: torch.Tensor,
    places: torch.Tensor,
) -> None:
    """Write the rows' own keys and values, the second and third part of projected, into a layer's cache.

    Args:
        projected: [rows, 3 * heads * head_dim].
        keys, values: [blocks, heads, BLOCK, head_dim]; changed in place.
        blocks, places: [rows], int64: the block in which a row's position lies, and where in it.
    """
    parts = projected.view(-1, 3, keys.shape[1], keys.shape[3])  # [rows, 3, heads, head_dim]
    keys[blocks, :, places] = parts[:, 1]
    values[blocks, :, places] = parts[:, 2]


def by_pages(
    projected: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    tables: torch.Tensor,
    positions: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """Attention in torch alone: block after block of all rows, with a running softmax (Milakov & Gimelshein 2018).

    Args:
        projected: [rows, 3 * heads * head_dim]: queries, keys and values.
        keys, values: [blocks, heads, BLOCK, head_dim]: one layer's cache, with the rows' own written already.
        tables: [rows, blocks a sequence], int32: where each row's sequence lies in the cache.
        positions: [rows], int32: a row sees positions 0 to its own.
        scale: what queries are multiplied by.

    Returns:
        [rows, heads * head_dim], in the dtype of projected; sums are float32.
    """
    rows, heads, head_dim = projected.shape[0], keys.shape[1], keys.shape[3]
    query = projected.view(rows, 3, heads, head_dim)[:, 0].float() * scale
    highest = query.new_full((rows, heads), -torch.inf)
    total = query.new_zeros(rows, heads)
    sums = torch.zeros_like(query)  # [rows, heads, head_dim]
    for page in range(tables.shape[1]):
        # What lies beyond a row's end adds exactly nothing: how far others go does not matter.
        blocks = tables[:, page].long()
        seen = positions[:, None] >= page * BLOCK + torch.arange(BLOCK, device=query.device)  # [rows, BLOCK]
        value = torch.where(seen[:, None, :, None], values[blocks].float(), 0)  # [rows, heads, BLOCK, head_dim]
        scores = (keys[blocks].float() * query[:, :, None]).sum(-1)  # [rows, heads, BLOCK]
        scores = torch.where(seen[:, None], scores, -torch.inf)
        largest = torch.maximum(highest, scores.amax(-1))
        shrink, weights = torch.exp(highest - largest), torch.exp(scores - largest[..., None])
        total = total * shrink + weights.sum(-1)
        sums = sums * shrink[..., None] + (weights[..., None] * value).sum(-2)
        highest = largest
    return (sums / total[..., None]).view(rows, heads * head_dim).to(projected.dtype)
