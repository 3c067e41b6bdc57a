"""An engine and a classifier that take no time, put where a worker loads the real ones.

All else of the worker is as it is for a user: its parent, Celery, leases, the feeder, maintenance, the scorer's thread.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from bench.on_import import OnImport
from contract.policy import ORIGINAL_LABELS

SLOTS = 128
"""As many as the engine has on a CPU: so many texts are handed over at each step."""
TOKENS, PROMPT_TOKENS = 64, 30
MIN_CHARACTERS, MAX_CHARACTERS = 150, 350
"""Characters of a text: 64 tokens of GPT-2's are about 250."""
FLAGGED_ONE_IN = 20
"""One text in so many is over the threshold."""
STORY = (
    "and then the old river carried her letter past the harbour, where nobody waited, until morning came slowly; " * 80
)


class InstantEngine:
    """Finishes all that its slots hold at each step. A text depends on its seed alone."""

    name = "stub 1"
    slots = SLOTS
    pause = 0.0

    def __init__(self) -> None:
        self._waiting: dict[Hashable, Any] = {}

    def read(self, *_: Any, **__: Any) -> None:
        """A stub reads nothing beforehand."""

    def add(self, requests: Iterable[Any]) -> None:
        self._waiting |= {request.key: request for request in requests}

    def cancel(self, keys: Iterable[Hashable]) -> None:
        for key in keys:
            self._waiting.pop(key, None)

    @property
    def pending(self) -> int:
        return len(self._waiting)

    def step(self) -> list[Any]:
        from worker.engine.sequence import Completion

        keys = [key for key, _ in zip(self._waiting, range(SLOTS), strict=False)]
        return [
            Completion(key, text_of(self._waiting.pop(key).seed), "length", TOKENS, PROMPT_TOKENS, -2.5, None)
            for key in keys
        ]


def text_of(seed: int) -> str:
    """The text that a seed stands for."""
    start, length = seed % 997, MIN_CHARACTERS + seed % (MAX_CHARACTERS - MIN_CHARACTERS + 1)
    return f" {seed:x} {STORY[start : start + length]}"[:length]


class InstantClassifier:
    """Scores that depend on the text alone."""

    revision = "stub 1"

    def score(self, texts: Sequence[str], after_batch: Callable[[], None] | None = None) -> list[dict[str, float]]:
        return [scores_of(text) for text in texts]


def scores_of(text: str) -> dict[str, float]:
    """The scores of a text: over every threshold, or well below."""
    checksum = zlib.crc32(text.encode())
    flagged = checksum % FLAGGED_ONE_IN == 0
    return {
        label: (0.75 if flagged else 0.05) + (checksum >> shift) % 1000 / 5000
        for shift, label in enumerate(ORIGINAL_LABELS)
    }


def _load_engine(model: str, *_: object, **__: object) -> Any:
    import torch

    from contract.spec import Provenance
    from worker.engine.load.loading import Loaded

    made_by = Provenance(model=model, revision="stub 1", engine=InstantEngine.name, torch=torch.__version__,
                         device="cpu", isa="", dtype="fp32")  # fmt: skip
    return Loaded(InstantEngine(), None, made_by, "cpu")  # type: ignore[arg-type]


def _load_classifier(*_: object, **__: object) -> InstantClassifier:
    return InstantClassifier()


REPLACED = {
    "worker.engine.load.loading": ("load_engine", _load_engine),
    "worker.safety.detoxify": ("load_classifier", _load_classifier),
}


def install() -> None:
    """Puts the stubs into this process, into each module once it is loaded."""
    OnImport(REPLACED, lambda module: setattr(module, *REPLACED[module.__name__])).install()
