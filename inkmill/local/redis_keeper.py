"""Keeps the embedded Redis of a home running: started again when it ends or goes deaf, and without its files where
it ends over them.
"""

from __future__ import annotations

import subprocess
import time

import structlog

from contract.errors import InkmillError
from contract.settings import Settings
from inkmill.local.redis_server import answers, last_words, set_aside, start_server

DEAF_SECONDS = 5.0
"""A Redis that refuses connections for this long has lost its socket, say, and is started anew."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0
READ_SECONDS = 1.0
"""It accepts connections even while it reads the files over which it ends."""
STEADY_SECONDS = 10.0
"""One that lived this long was not failing at its start: the next restart is quick again."""
END_SECONDS = 10.0
log = structlog.get_logger()


class RedisKeeper:
    """The Redis of one home, as its daemon sees it."""

    def __init__(self, where: Settings) -> None:
        self._where = where
        self._process: subprocess.Popen[bytes] | None = None
        self._not_before, self._pause = 0.0, FIRST_PAUSE
        self._started = self._seen = time.monotonic()
        self.down = ""  # why it does not run
        self.note = ""  # what became of files that it could not read

    def tend(self) -> None:
        """Starts it where it does not run. To be called again and again."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._not_before:
                self._start()
        elif (status := self._process.poll()) is not None:
            self._account_for(status)
        elif answers(self._where, 0):
            self._seen = now
            if now - self._started > READ_SECONDS:
                self.down = ""
            if now - self._started > STEADY_SECONDS:
                self._pause = FIRST_PAUSE
        elif now - self._seen > DEAF_SECONDS:
            log.warning("Redis went deaf; starting it again")
            self.end(gently=False)
            self._start()

    def _start(self) -> None:
        self._started = self._seen = time.monotonic()
        try:
            self._process = start_server(self._where)
        except (InkmillError, OSError) as error:
            self._fail(str(error))

    def _account_for(self, status: int) -> None:
        self._process = None
        if status <= 0:  # it was killed, or told to end
            log.warning("Redis ended; starting it again", status=status)
            self._not_before = time.monotonic() + FIRST_PAUSE
            return
        said = last_words(self._where)
        self._fail(f"it ended with status {status}: {said}")
        try:
            aside = set_aside(self._where)
        except OSError as error:
            log.warning("cannot set Redis' files aside", error=str(error))
            return
        if aside is not None:
            self.note = (
                f"the local Redis could not go on with its files ({said}); they are set aside in {aside}, and the work "
                "goes on: Redis holds hints only"
            )

    def _fail(self, why: str) -> None:
        log.warning("Redis does not run", why=why, again_in=self._pause)
        self.down = why
        self._not_before = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def end(self, *, gently: bool) -> None:
        """
        Args:
            gently: told to end, Redis unlinks its socket's path; in a home that was made anew, that is another stack's.
        """
        if self._process is None:
            return
        self._process.terminate() if gently else self._process.kill()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
