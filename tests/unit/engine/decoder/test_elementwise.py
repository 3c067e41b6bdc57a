"""Norms and activations: torch's numbers, and a row's bits whatever the number of rows and threads, at any width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from worker.engine.cpu.activation import ERF_GELU, QUICK_GELU, SILU, TANH_GELU
from worker.engine.decoder.row_wise import RowWiseActivation, RowWiseNorm

ROWS = 300
WIDTHS = (1, 15, 64, 203)
THREADS = (1, 2, 3, 4, 7)

MODULES: dict[str, Callable[[int, int], torch.nn.Module]] = {
    "silu": lambda width, threads: RowWiseActivation(SILU, threads),
    "quick gelu": lambda width, threads: RowWiseActivation(QUICK_GELU, threads),
    "tanh gelu": lambda width, threads: RowWiseActivation(TANH_GELU, threads),
    "erf gelu": lambda width, threads: RowWiseActivation(ERF_GELU, threads),
    "norm": lambda width, threads: RowWiseNorm(torch.linspace(0.5, 1.5, width), 1e-5, threads),
}


def random_rows(width: int, dtype: torch.dtype) -> torch.Tensor:
    return (torch.randn(ROWS, width, generator=torch.Generator().manual_seed(1)) * 4).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", MODULES)
def test_a_row_has_the_same_bits_among_any_number_of_rows_and_threads(name: str, dtype: torch.dtype) -> None:
    for width in WIDTHS:
        rows = random_rows(width, dtype)
        everything = MODULES[name](width, 2)(rows)
        for threads in THREADS:
            module = MODULES[name](width, threads)
            for count in (1, 2, 3, 7, 64, ROWS):
                assert torch.equal(module(rows[-count:]), everything[-count:])


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("silu", F.silu),
        ("quick gelu", lambda rows: rows * torch.sigmoid(1.702 * rows)),
        ("tanh gelu", lambda rows: F.gelu(rows, approximate="tanh")),
        ("erf gelu", F.gelu),
        ("norm", lambda rows: F.rms_norm(rows, (203,), torch.linspace(0.5, 1.5, 203), 1e-5)),
    ],
)
def test_the_numbers_are_torchs(name: str, theirs: Callable[[Any], torch.Tensor]) -> None:
    rows = random_rows(203, torch.float32)
    torch.testing.assert_close(MODULES[name](203, 2)(rows), theirs(rows), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", MODULES)
def test_extreme_numbers_stay_what_they_are(name: str) -> None:
    rows = torch.tensor([[-1e30, -200.0, -0.0, 0.0, 1e-30, 200.0, 1e15]])
    assert torch.isfinite(MODULES[name](7, 1)(rows)).all()
