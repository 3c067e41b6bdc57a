"""Waiting that says for what: whoever waits for longer than two seconds is told on standard error, once.

What is waited for, and how, is not known here.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from common.wording import visible

QUIET_SECONDS = 2.0
"""How long a wait may last without a word."""


@contextmanager
def told_when_long(describe: Callable[[], str]) -> Iterator[None]:
    """Says what is waited for if what happens inside takes long.

    Args:
        describe: ends the sentence "waiting for …"; asked when the time has come, in another thread.
    """
    timer = threading.Timer(QUIET_SECONDS, lambda: tell(describe()))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join(QUIET_SECONDS)  # a process that forks next has to have one thread


_last = ""


def tell(what: str) -> None:
    """Says on standard error that this process waits; the same thing not twice in a row."""
    global _last
    if what == _last:
        return
    _last = what
    with suppress(OSError, ValueError):  # nobody listens any more
        print(visible(f"inkmill: waiting for {what}"), file=sys.stderr, flush=True)
