"""`status`, `watch`, `cancel` and `retry` of a tuning."""

from __future__ import annotations

import time
from collections.abc import Callable

from contract.errors import DatabaseUnreachable, ExitCode
from contract.settings import Settings
from contract.spec import TuningStatus
from contract.waiting.stack_state import WantedWorker
from contract.waiting.surroundings import Surroundings
from db.session.engine import Database
from db.tuning.claims import sweep_tunings
from db.tuning.tunings import StoredTuning, cancel_tuning, find_tuning, retry_tuning
from db.tuning.waiting import tuning_waits_for
from inkmill.local.stack import Stack
from inkmill.show.display import ProgressLine, print_json
from inkmill.show.terminal import messages
from inkmill.tuning.status import print_tuning, progress_line, tuning_json
from producer.tuning import queue_tuning_hints

ROUND_SECONDS = 0.5
UNREACHABLE = "unreachable"
"""The code of a tuning whose base could not be fetched."""


def show_status(database: Database, number: int, *, json: bool) -> StoredTuning:
    """How a tuning stands, on standard output.

    Raises:
        NoSuchTuning: there is none of that number.
    """
    tuning = find_tuning(database, number)
    waiting = tuning_waits_for(database, tuning, Surroundings())
    if json:
        print_json(tuning_json(tuning, waiting))
    else:
        print_tuning(tuning, waiting)
    return tuning


def follow(database: Database, number: int, check: Callable[[StoredTuning], object] = lambda _: None) -> StoredTuning:
    """Shows progress until the tuning has ended, or is paused.

    Args:
        check: called in each round, with how it stands.
    """
    find_tuning(database, number)  # an unknown one fails at once
    with ProgressLine() as progress:
        while True:
            try:
                tuning = find_tuning(database, number)
                if tuning.finished or tuning.status == TuningStatus.PAUSED:
                    return tuning
                check(tuning)
                waiting = tuning_waits_for(database, tuning, Surroundings())
                progress.say(progress_line(tuning, waiting), at_once=bool(waiting))
            except DatabaseUnreachable as error:
                progress.say(f"t{number}: {error}; waiting for it")
            time.sleep(ROUND_SECONDS)


def watch(database: Database, number: int, *, json: bool) -> int:
    """Follows a tuning to its end. Returns the exit status."""
    follow(database, number)
    return exit_status(show_status(database, number, json=json))


def exit_status(tuning: StoredTuning) -> int:
    """The exit status for a tuning that has ended, or is paused."""
    if tuning.status == TuningStatus.COMPLETED:
        return ExitCode.DONE
    return ExitCode.UNREACHABLE if tuning.code == UNREACHABLE else ExitCode.FAILED


def cancel(database: Database, number: int, *, json: bool) -> None:
    """Cancels a tuning: at once, or where a worker has it, within seconds, with a checkpoint."""
    sweep_tunings(database)  # one whose worker is gone is cancelled at once
    cancel_tuning(database, number)
    show_status(database, number, json=json)


def retry(config: Settings, database: Database, number: int, *, json: bool) -> None:
    """Queues a tuning again, and starts what is missing, as `tune` does; it goes on from its last checkpoint.

    Raises:
        QueueUnreachable: what is missing does not start; the tuning is queued all the same.
    """
    retry_tuning(database, number, owner=config.installation if config.embedded else None)
    messages.print(f"tuning t{number}: queued again; it goes on from its last checkpoint")
    tuning = find_tuning(database, number)
    if config.embedded:
        Stack(config).ensure_running(WantedWorker.for_tuning(tuning.device, tuning.order.get("threads")))
    error = queue_tuning_hints(database, tuning)
    if error and not config.embedded:
        messages.print(f"warning: {error}; the work starts automatically once Redis is back", markup=False)
    show_status(database, number, json=json)
