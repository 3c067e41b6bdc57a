"""The worker process proper: loads its model, then lets Celery feed it.

Started and followed by `worker.supervise.supervisor`.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import structlog

from common.processes import end_with_parent, give_way
from contract.errors import DatabaseUnreachable, ExitCode, InkmillError, ModelUnavailable
from contract.policy import BUILT_IN_CLASSIFIERS, NO_SAFETY
from contract.queue import default_app, generate_queue, score_queue
from contract.settings import settings
from db.session.engine import Database, open_database
from db.work.claims import MUST_MATCH
from db.work.workers import record_heartbeat, register_worker
from worker.supervise.logs import configure
from worker.supervise.spawn import Start, WorkerOptions

MOST_TASKS = 34
"""Task threads: they only wait for the engine, so there may be many; small batches need several at once."""
OFTEN = (700, 10, 10)
"""How often Python looks for garbage by default; a parent that is a command wants it seldom, and hands that on."""
T = TypeVar("T")
log = structlog.get_logger()


def told() -> Start:
    """What the command line of a fresh interpreter says."""
    parser = argparse.ArgumentParser(prog="python -m worker.supervise.main")
    parser.add_argument("--id", required=True)
    parser.add_argument("--parent", required=True, type=int, help="its process id")
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--safety", action="append", default=[])
    parser.add_argument("--again", action="store_true", help="the same was ready before, in a process that died")
    said = parser.parse_args()
    options = WorkerOptions(
        model=said.model, device=said.device, dtype=said.dtype, threads=said.threads, safety=tuple(said.safety)
    )
    return Start(worker=said.id, parent=said.parent, options=options, again=said.again)


def main(start: Start) -> int:
    """Runs until told to stop. Returns the exit status."""
    gc.disable()  # for as long as it starts: imports make a million objects, none of them garbage
    gc.set_threshold(*OFTEN)
    options, worker = start.options, start.worker
    _end_with_parent(start.parent)
    configure()
    structlog.contextvars.bind_contextvars(worker=worker[:8])
    try:
        settings.cache_clear()  # as they are now: the parent may have read its own days ago
        give_way(settings().nice)  # commands, the page and the servers answer people; this can wait
        default_app().conf.update(broker_url=settings().broker_url)
        database = open_database(settings().sql_url, timeout=settings().service_seconds)
        offered = [name for name in options.safety or BUILT_IN_CLASSIFIERS if name != NO_SAFETY]
        register_worker(
            database,
            worker,
            host=socket.gethostname(),
            pid=os.getpid(),
            state="starting",
            model=options.model,
            dtype=options.dtype,
            device=options.device,
            classifiers=offered,
        )
    except InkmillError as error:
        log.error("cannot start", error=str(error))
        return int(ExitCode.FAILED)  # the parent tries again: the database may only be away
    return _serve(database, start, tuple(offered))


def _end_with_parent(parent: int) -> None:
    """A worker whose parent is gone would be restarted by nobody and marked by nobody: it ends too."""
    end_with_parent()
    if os.getppid() != parent:  # it was gone before that call
        sys.exit(1)


def _serve(database: Database, start: Start, offered: tuple[str, ...]) -> int:
    # torch takes seconds to import: not before the worker has announced itself.
    from worker.engine.load.loading import load_engine
    from worker.maintenance.scheduler import Scheduler, duties
    from worker.runtime.classifiers import Classifiers
    from worker.runtime.runtime import Runtime
    from worker.tasks.celery_tasks import register, serve

    options, worker = start.options, start.worker
    loading = threading.Event()
    threading.Thread(target=_show_life, args=(database, worker, loading), daemon=True).start()
    try:
        loaded = load_engine(options.model, options.device, options.dtype, threads=options.threads or None)
        classifiers = Classifiers(offered, loaded.device)
        # A restart is for the texts: what scores them is loaded when it is needed.
        if options.safety and not start.again:
            classifiers.load_all()
    except ModelUnavailable as error:
        log.error("cannot serve", error=str(error))
        record_heartbeat(database, worker, state="failed", error=str(error))
        return int(ExitCode.UNREACHABLE)
    finally:
        loading.set()
    runtime = _patiently(
        lambda: Runtime(worker=worker, database=database, where=settings(), loaded=loaded, classifiers=classifiers)
    )
    made_by = loaded.provenance
    there = {name: getattr(made_by, name) for name in (*MUST_MATCH, "threads")}
    _patiently(lambda: record_heartbeat(database, worker, state="ready", device=loaded.device, **there))
    log.info("ready", model=made_by.model, revision=made_by.revision, dtype=made_by.dtype, device=made_by.device)
    serve(runtime)
    register(default_app())
    runtime.watchdog.arm()
    runtime.start()
    Scheduler(duties(runtime), runtime.where.sweep_seconds, runtime.stopping).start()
    _consume(runtime.stopping, [generate_queue(options.model), *map(score_queue, offered)])
    record_heartbeat(database, worker, state="stopped")
    return 0


def _patiently(what: Callable[[], T]) -> T:
    """What is loaded took long to load: a database that is away just then is waited for."""
    while True:
        try:
            return what()
        except DatabaseUnreachable as error:
            log.warning("waiting for the database", error=str(error))
            time.sleep(1.0)


def _show_life(database: Database, worker: str, loaded: threading.Event) -> None:
    """A large model takes minutes to load; meanwhile this worker is no dead one."""
    while not loaded.wait(5):
        with suppress(InkmillError):
            record_heartbeat(database, worker)


def _consume(stopping: threading.Event, queues: list[str]) -> None:
    from celery.platforms import SecurityWarning
    from celery.signals import worker_shutting_down

    from worker.supervise.consumer import LOGGER, SaidOnce

    # Celery warns root of pickled messages; this app takes JSON alone.
    warnings.simplefilter("ignore", SecurityWarning)
    # kombu prints a traceback for every control message that is no JSON: somebody else could fill the disk with them.
    logging.getLogger("kombu.transport.redis").setLevel(logging.ERROR)
    logging.getLogger(LOGGER).addFilter(SaidOnce())

    def stop(**_: object) -> None:
        stopping.set()

    worker_shutting_down.connect(stop, weak=False)
    gc.freeze()
    gc.enable()
    worker = default_app().Worker(
        pool="threads",
        concurrency=MOST_TASKS,
        queues=queues,
        hostname=f"inkmill-{os.getpid()}@{socket.gethostname()}",
        consumer_cls="worker.supervise.consumer:PatientConsumer",
        loglevel="WARNING",
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    )
    worker.start()


if __name__ == "__main__":
    sys.exit(main(told()))
