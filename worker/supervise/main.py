"""The worker process with the model: loads it, then works off what Celery delivers.

Started and restarted by `worker.supervise.supervisor`.
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

from common.processes import end_with_parent, give_way, leave
from contract.errors import DatabaseUnreachable, ExitCode, InkmillError, ModelUnavailable
from contract.model_kinds.own_model import own_model_folder
from contract.model_kinds.paths import local_path
from contract.policy import BUILT_IN_CLASSIFIERS, NO_SAFETY
from contract.queue import default_app, generate_queue, score_queue, tune_queue
from contract.settings import settings
from contract.spec import manner_of_writing
from db.session.engine import Database, open_database
from db.work.claims import MUST_MATCH
from db.work.workers import record_heartbeat, register_worker
from worker.supervise.logs import configure
from worker.supervise.spawn import MADE_WAY, Launch, WorkerOptions

TASK_THREADS = 34
"""They only wait for the engine, so there may be many; small batches need several at once."""
DEFAULT_GC_THRESHOLD = (700, 10, 10)
"""Python's. The parent, being a command, has raised its own, which a forked child would inherit."""
T = TypeVar("T")
log = structlog.get_logger()


def parse_arguments() -> Launch:
    """The launch that the command line of a fresh interpreter describes."""
    parser = argparse.ArgumentParser(prog="python -m worker.supervise.main")
    parser.add_argument("--id", required=True)
    parser.add_argument("--parent", required=True, type=int, help="its process ID")
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--safety", action="append", default=[])
    parser.add_argument("--again", action="store_true", help="a process with these options was ready before, and died")
    parsed = parser.parse_args()
    options = WorkerOptions(
        model=parsed.model,
        device=parsed.device,
        dtype=parsed.dtype,
        threads=parsed.threads,
        safety=tuple(parsed.safety),
    )
    return Launch(worker=parsed.id, parent=parsed.parent, options=options, again=parsed.again)


def main(start: Launch) -> int:
    """Runs until told to stop. Returns the exit status."""
    gc.disable()  # during the start: imports create a million objects, none of them garbage
    gc.set_threshold(*DEFAULT_GC_THRESHOLD)
    options, worker = start.options, start.worker
    _end_with_parent(start.parent)
    configure()
    structlog.contextvars.bind_contextvars(worker=worker[:8])
    try:
        settings.cache_clear()  # read them anew: the parent may have read its own days ago
        give_way(settings().nice)  # people wait for commands, the page and the servers; this can wait
        default_app().conf.update(broker_url=settings().broker_url)
        database = open_database(settings().sql_url, timeout=settings().service_seconds)
        classifier_names = [name for name in options.safety or BUILT_IN_CLASSIFIERS if name != NO_SAFETY]
        register_worker(
            database,
            worker,
            host=socket.gethostname(),
            pid=os.getpid(),
            state="starting",
            model=options.model,
            dtype=options.dtype,
            device=options.device,
            classifiers=classifier_names,
        )
    except InkmillError as error:
        log.error("cannot start", error=str(error))
        return int(ExitCode.FAILED)  # the parent tries again: the database may be back by then
    return _serve(database, start, tuple(classifier_names))


def _end_with_parent(parent: int) -> None:
    """Without its parent a worker would not be restarted, nor its death recorded: it ends too."""
    end_with_parent()
    if os.getppid() != parent:  # it died before that call
        sys.exit(1)


def _serve(database: Database, start: Launch, classifier_names: tuple[str, ...]) -> int:
    # torch takes seconds to import: not before the worker has announced itself.
    from worker.engine.load.loading import load_engine
    from worker.evaluation.copied import index_in
    from worker.maintenance.sweeper import Sweeper, duties
    from worker.runtime.classifiers import Classifiers
    from worker.runtime.runtime import Runtime
    from worker.tasks.celery_tasks import register, serve

    options, worker = start.options, start.worker
    loading = threading.Event()
    threading.Thread(target=_beat_while_loading, args=(database, worker, loading), daemon=True).start()
    try:
        folder, threads = own_model_folder(options.model), options.threads or None
        loaded = load_engine(options.model, options.device, options.dtype, threads=threads, folder=folder)
        classifiers = Classifiers(classifier_names, loaded.device)
        # After a restart texts come first: classifiers are loaded when they are needed.
        if options.safety and not start.again:
            classifiers.load_all()
    except ModelUnavailable as error:
        log.error("cannot serve", error=str(error))
        record_heartbeat(database, worker, state="failed", error=str(error))
        return int(ExitCode.UNREACHABLE)
    finally:
        loading.set()
    runtime = _retry_while_unreachable(
        lambda: Runtime(
            worker=worker,
            database=database,
            config=settings(),
            loaded=loaded,
            classifiers=classifiers,
            training_text=index_in(folder or local_path(options.model)),
        )
    )
    provenance = loaded.provenance
    reported = {name: getattr(provenance, name) for name in (*MUST_MATCH, "threads")}
    _retry_while_unreachable(
        lambda: record_heartbeat(
            database, worker, state="ready", device=loaded.device, why_fallback=loaded.why_fallback, **reported
        )
    )
    log.info(
        "ready", model=provenance.model, revision=provenance.revision, dtype=provenance.dtype, device=provenance.device
    )
    if loaded.why_fallback:
        log.warning("this model has no slots", writes=manner_of_writing(provenance.engine, loaded.why_fallback))
    serve(runtime)
    register(default_app())
    runtime.watchdog.arm()
    runtime.start()
    Sweeper(duties(runtime), runtime.config.sweep_seconds, runtime.stopping).start()
    queues = [generate_queue(options.model), *map(score_queue, classifier_names), tune_queue(loaded.device)]
    _consume(runtime.stopping, queues)
    record_heartbeat(database, worker, state="stopped")
    return MADE_WAY if runtime.makes_way else int(ExitCode.DONE)


def _retry_while_unreachable(action: Callable[[], T]) -> T:
    """Waits for the database, so that a model which took long to load is not loaded again."""
    while True:
        try:
            return action()
        except DatabaseUnreachable as error:
            log.warning("waiting for the database", error=str(error))
            time.sleep(1.0)


def _beat_while_loading(database: Database, worker: str, loaded: threading.Event) -> None:
    """A large model takes minutes to load; meanwhile this worker must not pass for dead."""
    while not loaded.wait(5):
        with suppress(InkmillError):
            record_heartbeat(database, worker)


def _consume(stopping: threading.Event, queues: list[str]) -> None:
    from celery.platforms import SecurityWarning
    from celery.signals import worker_shutting_down

    from worker.supervise.consumer import LOGGER, RepeatFilter

    # Celery warns root about pickled messages; this app accepts only JSON.
    warnings.simplefilter("ignore", SecurityWarning)
    # kombu logs a traceback for every control message that is not JSON, with which an outsider could fill the disk.
    logging.getLogger("kombu.transport.redis").setLevel(logging.ERROR)
    logging.getLogger(LOGGER).addFilter(RepeatFilter())

    def stop(**_: object) -> None:
        stopping.set()

    worker_shutting_down.connect(stop, weak=False)
    gc.freeze()
    gc.enable()
    worker = default_app().Worker(
        pool="threads",
        concurrency=TASK_THREADS,
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
    leave(main(parse_arguments()))
