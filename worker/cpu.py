"""What the processor of this machine can do, and how many of its cores this process may use."""

from __future__ import annotations

import os
from typing import Any

import torch


def cores() -> int:
    """The cores this process may use, where the system can tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_bfloat16() -> bool:
    """Whether it multiplies bfloat16 in hardware; elsewhere bfloat16 is slower than float32."""
    return _has("avx512_bf16", "amx_bf16")


def has_int8() -> bool:
    """Whether it sums products of 8-bit numbers in 32 bits; elsewhere sums may overflow 16 bits."""
    return _has("avx512_vnni", "avx_vnni")


def _has(*features: str) -> bool:
    library: Any = torch.cpu
    found: dict[str, Any] = library.get_capabilities() if hasattr(library, "get_capabilities") else {}
    return any(found.get(feature) for feature in features)
