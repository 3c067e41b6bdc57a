"""How fast this machine multiplies matrices: the ceiling of every engine. `python -m bench.ceiling [THREADS]`.

One JSON line: floating-point operations a second for each dtype, through oneDNN as torch brings it.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch

ROWS, NARROW, WIDE = 1024, 768, 3072  # GPT-2's largest layer but the head, at a full step of prefill
FLOP = 2 * ROWS * NARROW * WIDE
BURSTS, BURST_SECONDS = 10, 0.2


def main() -> None:
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    with torch.inference_mode():
        products = {"fp32": _packed(torch.float32), "bf16": _packed(torch.bfloat16), "int8": _int8()}
        print(json.dumps({dtype: FLOP / _seconds(product) for dtype, product in products.items()}))


def _packed(dtype: torch.dtype) -> Callable[[], Any]:
    """A linear layer with its weights packed once."""
    mkldnn: Any = torch.ops.mkldnn
    rows, weight = torch.randn(ROWS, NARROW, dtype=dtype), torch.randn(WIDE, NARROW, dtype=dtype)
    packed = mkldnn._reorder_linear_weight(weight, ROWS)
    return lambda: mkldnn._linear_pointwise(rows, packed, None, "none", [], "")


def _int8() -> Callable[[], Any]:
    """A dynamic quantised linear layer: float32 rows in and out."""
    torch.backends.quantized.engine = "onednn"
    rows = torch.randn(ROWS, NARROW)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what torch means to move to another package
        weight = torch.quantize_per_channel(
            torch.randn(WIDE, NARROW), torch.full((WIDE,), 0.02), torch.zeros(WIDE, dtype=torch.int64), 0, torch.qint8
        )
        packed = torch.ops.quantized.linear_prepack(weight, None)
    dynamic = torch.ops.quantized.linear_dynamic
    return lambda: dynamic(rows, packed)


def _seconds(product: Callable[[], Any]) -> float:
    """One product's time in the best of several bursts: what else the machine does must not lower a ceiling."""
    product()
    return min(_burst(product) for _ in range(BURSTS))


def _burst(product: Callable[[], Any]) -> float:
    start, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < BURST_SECONDS:
        product()
        count += 1
    return spent / count


if __name__ == "__main__":
    main()
