"""The classifiers of this process: each loaded at its first use, and taken off the offer where it cannot be."""

from __future__ import annotations

import threading

import structlog

from contract.errors import ModelUnavailable
from worker.safety.detoxify import Classifier, load_classifier

log = structlog.get_logger()


class Classifiers:
    """What this worker can score with."""

    def __init__(self, offered: tuple[str, ...], device: str) -> None:
        self._device = device
        self._offered = list(offered)
        self._loaded: dict[str, Classifier] = {}
        self._lock = threading.Lock()
        self.error: str | None = None  # why one was taken off the offer

    @property
    def offered(self) -> tuple[str, ...]:
        return tuple(self._offered)

    def load_all(self) -> None:
        """Loads every classifier now.

        Raises:
            ModelUnavailable: for the first that cannot be loaded.
        """
        for name in self._offered:
            self._loaded[name] = load_classifier(name, self._device)

    def get(self, name: str) -> Classifier | None:
        """The classifier, loaded where it was not yet; None, and no longer offered, where that fails."""
        with self._lock:
            if name not in self._loaded and name in self._offered:
                try:
                    self._loaded[name] = load_classifier(name, self._device)
                except ModelUnavailable as error:
                    log.error("a classifier cannot be loaded", classifier=name, error=str(error))
                    self._offered.remove(name)
                    self.error = str(error)
            return self._loaded.get(name)
