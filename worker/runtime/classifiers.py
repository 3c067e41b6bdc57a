"""The classifiers of this process: each loaded at its first use, and not offered for a while where that fails."""

from __future__ import annotations

import threading
import time

import structlog

from contract.errors import ModelUnavailable
from worker.safety.detoxify import Classifier, load_classifier

log = structlog.get_logger()


RETRY_SECONDS = 300.0
"""A classifier that could not be loaded is offered again after this long: a download may have failed."""


class Classifiers:
    """What this worker can score with."""

    def __init__(self, offered: tuple[str, ...], device: str) -> None:
        self._device, self._all = device, offered
        self._not_before = dict.fromkeys(offered, 0.0)
        self._loaded: dict[str, Classifier] = {}
        self._lock = threading.Lock()
        self.error: str | None = None  # why one is not offered

    @property
    def offered(self) -> tuple[str, ...]:
        """Those that are loaded, or may be tried."""
        now = time.monotonic()
        return tuple(name for name in self._all if self._not_before[name] <= now)

    @property
    def revisions(self) -> dict[str, str]:
        """The revisions of those that are loaded, whatever their files are now."""
        return {name: classifier.revision for name, classifier in self._loaded.copy().items()}

    def load_all(self) -> None:
        """Loads every classifier now.

        Raises:
            ModelUnavailable: for the first that cannot be loaded.
        """
        for name in self._all:
            self._loaded[name] = load_classifier(name, self._device)

    def get(self, name: str) -> Classifier | None:
        """The classifier, loaded where it was not yet; None, and not offered for a while, where that fails."""
        with self._lock:
            if name not in self._loaded and name in self.offered:
                try:
                    self._loaded[name] = load_classifier(name, self._device)
                    self.error = None
                except ModelUnavailable as error:
                    log.error("a classifier cannot be loaded", classifier=name, error=str(error))
                    self._not_before[name] = time.monotonic() + RETRY_SECONDS
                    self.error = str(error)
            return self._loaded.get(name)
