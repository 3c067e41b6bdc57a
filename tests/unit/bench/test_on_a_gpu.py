"""bench/on_a_gpu.sh where there is no GPU; what it does on one is tried by hand, also with `--device cpu --small`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[3] / "bench" / "on_a_gpu.sh"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_the_script_says_so_in_one_line(tmp_path: Path) -> None:
    mine = {"PYTHON": sys.executable, "OUT": str(tmp_path / "out"), "INKMILL_GPU_SCRIPT_DRY": ""}
    done = subprocess.run([SCRIPT], env=os.environ | mine, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "torch finds no CUDA device" in done.stderr
