"""Tries in a forked process what may crash it: Arrow aborts on some damaged footers instead of raising."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress

SECONDS = 60
"""The time limit of a dry run."""


def survives(what: Callable[[], object]) -> bool:
    """Whether a process survives calling `what`; a Python exception counts as surviving."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child has one thread and uses no other
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
    """No core file, no output on the terminal, and a time limit."""
    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)
