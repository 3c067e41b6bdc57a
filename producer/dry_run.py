"""Runs in a forked process first what might crash: Arrow aborts on some damaged footers instead of raising."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress

TIMEOUT_SECONDS = 60


def survives(action: Callable[[], object]) -> bool:
    """Whether a process survives `action`: an exception counts as surviving, running out of time does not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child has one thread and uses no other
        child = os.fork()
    if child == 0:
        try:
            _contain()
            with suppress(Exception):
                action()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return status == 0


def _contain() -> None:
    """No core file, no output on the terminal, and a time limit."""
    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(TIMEOUT_SECONDS)
