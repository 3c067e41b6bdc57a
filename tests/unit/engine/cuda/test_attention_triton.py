"""The GPU's attention kernel without a GPU: compiled for two, and run by Triton's interpreter against torch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from worker.engine.cuda.attention import by_pages, store
from worker.engine.kv_cache import BLOCK

pytest.importorskip("triton", reason="Triton is not installed; it comes with torch for CUDA")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not INTERPRETED, reason="run by test_the_interpreter_agrees")
compiled = pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")


@compiled
def test_the_interpreter_agrees() -> None:
    """In a process of its own: Triton has to be told before it is imported, which torch may do on its own."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


@compiled
@pytest.mark.parametrize(("numbers", "capability"), [("bf16", 90), ("fp32", 80)])
def test_the_kernel_compiles_for_gpus(numbers: str, capability: int) -> None:
    from triton import compile as compile_kernel
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from worker.engine.cuda.attention_triton import WARPS, attend_row

    pointers = dict.fromkeys(("projected", "keys", "values", "mixed"), f"*{numbers}")
    pointers |= dict.fromkeys(("tables", "positions"), "*i32")
    scalars = {"scale": "fp32"} | dict.fromkeys(("table_stride", "position_stride", "heads"), "i32")
    constants = {"head_dim": 64, "padded_dim": 64, "block": BLOCK}
    signature = pointers | scalars | dict.fromkeys(constants, "constexpr")
    source = ASTSource(
        fn=attend_row, signature={name: signature[name] for name in attend_row.arg_names}, constexprs=constants
    )
    made = compile_kernel(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": WARPS})
    assert made.asm["cubin"]


@pytest.fixture
def by_kernel() -> Callable[..., torch.Tensor]:
    from worker.engine.cuda.attention_triton import by_kernel

    return by_kernel


def random_case(dtype: torch.dtype, heads: int, head_dim: int) -> dict[str, Any]:
    """Rows of sequences up to three blocks long, in a cache where all else is NaN."""
    chance = torch.Generator().manual_seed(heads)
    positions = torch.tensor([0, BLOCK - 1, BLOCK, 70], dtype=torch.int32)
    rows, pages = len(positions), 3
    tables = torch.randperm(rows * pages, generator=chance).view(rows, pages).int()
    shape = (rows * pages, heads, BLOCK, head_dim)
    keys, values = (torch.randn(shape, generator=chance).to(dtype) for _ in range(2))
    for row, position in enumerate(positions.tolist()):
        for page in range(pages):
            gone = slice(max(0, min(BLOCK, position + 1 - page * BLOCK)), BLOCK)
            keys[tables[row, page], :, gone] = torch.nan
            values[tables[row, page], :, gone] = torch.nan
    projected = torch.randn(rows, 3 * heads * head_dim, generator=chance).to(dtype)
    return {
        "projected": projected,
        "keys": keys,
        "values": values,
        "tables": tables,
        "positions": positions,
        "scale": head_dim**-0.5,
    }


@interpreted
@pytest.mark.parametrize(
    ("dtype", "heads", "head_dim"), [(torch.float32, 3, 6), (torch.bfloat16, 2, 64)], ids=["fp32", "bf16"]
)
def test_the_kernel_gives_what_torch_gives(
    by_kernel: Callable[..., torch.Tensor], dtype: torch.dtype, heads: int, head_dim: int
) -> None:
    case = random_case(dtype, heads, head_dim)
    torch.testing.assert_close(by_kernel(**case), by_pages(**case))


@interpreted
def test_the_kernel_takes_rows_bit_by_bit_as_it_takes_them_alone(by_kernel: Callable[..., torch.Tensor]) -> None:
    case = random_case(torch.bfloat16, 2, 64)
    together = by_kernel(**case)
    for row in range(len(together)):
        alone = case | {name: case[name][row : row + 1] for name in ("projected", "tables", "positions")}
        assert torch.equal(by_kernel(**alone), together[row : row + 1])


@interpreted
def test_attention_is_that_of_torchs_own_softmax(by_kernel: Callable[..., torch.Tensor]) -> None:
    case = random_case(torch.float32, 2, 64)
    result = by_kernel(**case).view(-1, 2, 64)
    for row, position in enumerate(case["positions"].tolist()):
        blocks = case["tables"][row].long()
        keys, values = (case[name][blocks].transpose(1, 2).flatten(0, 1)[: position + 1] for name in ("keys", "values"))
        query = case["projected"][row].view(3, 2, 64)[0]
        weights = torch.softmax(torch.einsum("hd,thd->ht", query, keys) * case["scale"], dim=-1)
        torch.testing.assert_close(result[row], torch.einsum("ht,thd->hd", weights, values))


@compiled
def test_keys_and_values_are_stored_where_attention_reads_them() -> None:
    case = random_case(torch.float32, 2, 6)
    positions = case["positions"].long()
    pages = case["tables"].gather(1, (positions // BLOCK)[:, None])[:, 0].long()
    store(case["projected"], case["keys"], case["values"], pages, positions % BLOCK)
    parts = case["projected"].view(-1, 3, 2, 6)
    for row, position in enumerate(positions.tolist()):
        block = case["tables"][row, position // BLOCK]
        assert torch.equal(case["keys"][block, :, position % BLOCK], parts[row, 1])
        assert torch.equal(case["values"][block, :, position % BLOCK], parts[row, 2])
