"""One worker process as a whole: its database, engine, leases, watchdog and turns, and what a message makes it do."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import structlog

from contract.errors import DatabaseUnreachable, QueueUnreachable
from contract.queue import generate_queue, request_hint, score_queue, top_up, tune_queue
from contract.settings import Settings
from db.session.engine import Database
from db.work.claims import MUST_MATCH, Ability, waiting_generation, waiting_scoring
from db.work.outputs import provenance_id
from db.work.request_claims import waiting_requests
from worker.engine.load.loading import Loaded
from worker.evaluation.copied import CopiedIndex
from worker.runtime.classifiers import Classifiers
from worker.runtime.core_lock import Cores
from worker.runtime.engine_thread import Feeder
from worker.runtime.lease import LeaseKeeper
from worker.runtime.quarantine import Turns
from worker.runtime.watchdog import HANG_EXIT, Watchdog
from worker.tunings_here import tunings_here

T = TypeVar("T")
log = structlog.get_logger()


class Runtime:
    """What the task threads of one process share."""

    def __init__(
        self,
        *,
        worker: str,
        database: Database,
        config: Settings,
        loaded: Loaded,
        classifiers: Classifiers,
        training_text: CopiedIndex | None = None,
    ) -> None:
        """
        Args:
            training_text: what the model was tuned with, where its folder has the index.
        """
        self.worker, self.database, self.config = worker, database, config
        self.classifiers, self._made_by = classifiers, loaded.provenance
        self.device = loaded.device
        self._training_text = training_text
        self.stopping = threading.Event()
        self.makes_way = False  # this process ends so that its parent can train
        self.turns = Turns()
        self.watchdog = Watchdog(config.step_seconds)
        self.cores = Cores(shared=loaded.device == "cpu")
        self.feeder = Feeder(loaded.engine, self.watchdog, self.cores, die=lambda: self.watchdog.end(HANG_EXIT))
        self.leases = LeaseKeeper(database, config.lease_seconds, lambda: self.watchdog.overdue() is None)
        self.provenance = provenance_id(database, loaded.provenance)
        self._last_refusal: str | None = None  # why no message could be sent
        self._claimer = threading.Semaphore(1)
        self._scorer = threading.Semaphore(1)
        # Every thread that computes gets threads of its own for the other cores, and keeps them: so there is but one.
        self.scorer = ThreadPoolExecutor(1, thread_name_prefix="scorer")

    def start(self) -> None:
        for part in (self.watchdog, self.leases, self.feeder):
            part.start()

    @property
    def ability(self) -> Ability:
        """What this process can serve now."""
        return Ability(
            worker=self.worker,
            model=self._made_by.model,
            device=self.device,
            threads=self._made_by.threads,
            **{name: getattr(self._made_by, name) for name in MUST_MATCH},
            classifiers=self.classifiers.offered,
            classifier_revisions=self.classifiers.revisions,
        )

    def copied_tokens(self, text: str) -> int | None:
        """How many tokens in a row of a text stand in what the model was tuned with; None where that is not known."""
        if self._training_text is None:
            return None
        return self._training_text.longest_run(self.feeder.engine.tokens(text)).length

    def patiently(self, function: Callable[[], T]) -> T:
        """Runs a function, waiting for a database that is away for as long as this process is not told to stop."""
        pause = 0.2
        while True:
            try:
                return function()
            except DatabaseUnreachable as error:
                if self.stopping.is_set():
                    raise
                log.warning("waiting for the database", error=str(error), again_in=pause)
                self.stopping.wait(pause)
                pause = min(pause * 2, 5.0)

    @contextmanager
    def place_to_claim(self) -> Iterator[bool]:
        """Yields True once the slots need another batch; False at once where another task waits for that already."""
        granted = self._claimer.acquire(blocking=False)
        try:
            while granted and not (self.feeder.has_room or self._leaving):
                time.sleep(0.02)
            yield granted and not self._leaving
        finally:
            if granted:
                self._claimer.release()

    @property
    def _leaving(self) -> bool:
        return self.stopping.is_set() or self.turns.suspect_waits

    @contextmanager
    def place_to_score(self) -> Iterator[bool]:
        """Yields whether no other task scores here."""
        granted = not self.stopping.is_set() and self._scorer.acquire(blocking=False)
        try:
            yield granted
        finally:
            if granted:
                self._scorer.release()

    def refill_generation(self) -> None:
        """Tops up this model's queue with what this process could claim."""
        self._refill(generate_queue(self._made_by.model), waiting_generation)

    def refill_tunings(self) -> None:
        """Tops up the queue of tunings with those that this worker could take."""
        self._refill(
            tune_queue(self.device), lambda database, _: tunings_here(database, self.config.models_folder, self.device)
        )

    def make_way(self) -> None:
        """Ends this process in order, as a SIGTERM from its parent would."""
        self.makes_way = True
        os.kill(os.getpid(), signal.SIGTERM)

    def refill_scoring(self) -> None:
        """Tops up the queues of this process' classifiers with what it could claim."""
        for name in self.classifiers.offered:
            self._refill(score_queue(name), _waiting_to_score, name)

    def _refill(
        self, queue: str, waiting: Callable[[Database, Ability], Sequence[int | str]], classifier: str | None = None
    ) -> None:
        ability = self.ability if classifier is None else replace(self.ability, classifiers=(classifier,))
        try:
            topped_up = top_up(queue, waiting(self.database, ability))
        except (QueueUnreachable, DatabaseUnreachable) as error:
            if str(error) != self._last_refusal:  # once, not with every sweep for each queue
                log.warning("could not top up", queue=queue, error=str(error))
            self._last_refusal = str(error)
        else:
            if topped_up:
                self._last_refusal = None


def _waiting_to_score(database: Database, ability: Ability) -> list[int | str]:
    """Requests first: a person waits for them."""
    requests = waiting_requests(database, ability.classifiers, revisions=ability.classifier_revisions)
    return [*map(request_hint, requests), *waiting_scoring(database, ability)]
