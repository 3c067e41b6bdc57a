"""Trying in a copy of this process what may end it: Arrow aborts over some damaged footers, instead of saying so."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress

SECONDS = 60
"""What a rehearsal gets."""


def survives(what: Callable[[], object]) -> bool:
    """Whether a process that calls `what` lives on; an exception of Python counts as living."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the copy has one thread, and uses no other
        child = os.fork()
    if child == 0:
        try:
            _be_quiet()
            with suppress(Exception):
                what()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return status == 0


def _be_quiet() -> None:
    """No core file, no word on the terminal, and an end in any case."""
    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)
