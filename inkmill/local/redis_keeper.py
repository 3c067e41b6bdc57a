"""Keeps the embedded Redis of a home running: restarted when it exits or stops answering, and without its data files
where it cannot read them.
"""

from __future__ import annotations

import subprocess
import time

import structlog

from contract.errors import InkmillError
from contract.settings import Settings
from inkmill.local.redis_server import accepts_connections, last_log_line, set_aside, start_server

DEAF_SECONDS = 5.0
"""A Redis that refuses connections for this long, its socket lost perhaps, is restarted."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0
READ_SECONDS = 1.0
"""It accepts connections even while it reads files that make it exit."""
STEADY_SECONDS = 10.0
"""After this long the start counts as successful: the next restart is quick again."""
STOP_SECONDS = 10.0
log = structlog.get_logger()


class RedisKeeper:
    """The Redis of one home, as its daemon sees it."""

    def __init__(self, config: Settings) -> None:
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self._not_before, self._pause = 0.0, FIRST_PAUSE
        self._started = self._seen = time.monotonic()
        self.down = ""  # why it is not running
        self.note = ""  # where unreadable files were moved

    def tend(self) -> None:
        """Starts it if it is not running. Called repeatedly."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._not_before:
                self._start()
        elif (status := self._process.poll()) is not None:
            self._handle_exit(status)
        elif accepts_connections(self._config, 0):
            self._seen = now
            if now - self._started > READ_SECONDS:
                self.down = ""
            if now - self._started > STEADY_SECONDS:
                self._pause = FIRST_PAUSE
        elif now - self._seen > DEAF_SECONDS:
            log.warning("Redis stopped answering; restarting it")
            self.stop(gently=False)
            self._start()

    def _start(self) -> None:
        self._started = self._seen = time.monotonic()
        try:
            self._process = start_server(self._config)
        except (InkmillError, OSError) as error:
            self._retry_later(str(error))

    def _handle_exit(self, status: int) -> None:
        self._process = None
        if status <= 0:  # it was killed, or stopped
            log.warning("Redis exited; restarting it", status=status)
            self._not_before = time.monotonic() + FIRST_PAUSE
            return
        reason = last_log_line(self._config)
        self._retry_later(f"it exited with status {status}: {reason}")
        try:
            aside = set_aside(self._config)
        except OSError as error:
            log.warning("cannot set Redis' files aside", error=str(error))
            return
        if aside is not None:
            self.note = (
                f"the local Redis could not read its files ({reason}); they were moved to {aside}, and the work goes "
                "on: Redis holds only hints"
            )

    def _retry_later(self, error: str) -> None:
        log.warning("Redis is not running", error=error, again_in=self._pause)
        self.down = error
        self._not_before = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def stop(self, *, gently: bool) -> None:
        """
        Args:
            gently: terminate, not kill. On termination Redis unlinks its socket; in a recreated home that is another's.
        """
        if self._process is None:
            return
        self._process.terminate() if gently else self._process.kill()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
