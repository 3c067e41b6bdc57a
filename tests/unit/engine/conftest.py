"""The checkpoints that the engine's tests share: made once, by the tests themselves."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # the import mode of the suite knows no sibling modules

from tiny_models import Tiny, load_tiny, make_gpt2, run_all, settings

from contract.spec import DTYPES
from worker.engine.compiled.compiling import ensure_compiled
from worker.engine.sequence import Completion, Request


@pytest.fixture(scope="session", autouse=True)
def two_threads() -> None:
    torch.set_num_threads(2)


@pytest.fixture(scope="session", autouse=True)
def compiled_code() -> None:
    """Read from disk, as in a worker, by tests of single loops too."""
    for dtype in DTYPES:
        ensure_compiled(dtype)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gpt2(tmp_path_factory.mktemp("gpt2"))


@pytest.fixture(scope="session")
def tiny(checkpoint: Path) -> Tiny:
    return load_tiny(checkpoint)


@pytest.fixture
def write(tiny: Tiny) -> Callable[..., Completion]:
    """Write one text with the tiny model."""

    def one(prompt: str = "Once upon", seed: int = 1, **values: object) -> Completion:
        report = run_all(tiny.engine(1), [Request("one", prompt, settings(**values), seed)])["one"]
        assert isinstance(report, Completion), report
        return report

    return one
