"""What the tests of loading share: a checkpoint to spoil, and a Hub that is away."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """The tiny checkpoint in a folder that a test may spoil."""
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


@pytest.fixture
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a Hub whose address refuses connections. Returns the cache."""
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    return cache


@pytest.fixture
def reach(no_hub: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Says at which address the Hub is, for as long as something answers there."""

    def at(address: str) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    return at
