"""A home with a stack of its own, an embedded Redis and workers, on the database of a run."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from bench.chaos.stack import COMMAND_SECONDS, INKMILL
from bench.chaos.trial import Trial

SLOW_STEP = "before-generate-step"
SLOW_SECONDS = "0.6"


class OwnHome:
    """What a user of one computer has, as the commands in it see it."""

    def __init__(self, trial: Trial, name: str) -> None:
        self._trial = trial
        self.folder = trial.stack.folder / name
        self.folder.mkdir(mode=0o700)
        here = {"INKMILL_HOME": str(self.folder), "INKMILL_REDIS_URL": "", "HF_HUB_CACHE": str(self.folder / "hub")}
        self.env = trial.stack.env | here

    def inkmill(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end, whatever that is."""
        return subprocess.run([*INKMILL, *words], env=self.env, capture_output=True, text=True, timeout=COMMAND_SECONDS)

    def start(self, *words: str) -> tuple[subprocess.Popen[bytes], Path]:
        """Starts a command. Returns it and the file that its messages go to."""
        log = self.folder / f"{words[0]}-{len(list(self.folder.glob('*.err')))}.err"
        with log.open("wb") as messages:
            return subprocess.Popen(
                [*INKMILL, *words], env=self.env, stdout=subprocess.DEVNULL, stderr=messages
            ), log  # fmt: skip

    def redis(self) -> psutil.Process | None:
        """Its Redis, where it runs now."""
        for process in psutil.process_iter(["cmdline"]):
            with suppress(psutil.Error):
                if f"{self.folder}/redis/redis.sock" in " ".join(process.info["cmdline"] or []):
                    return process
        return None

    @contextmanager
    def slowed_job(self, job_after: int, run: subprocess.Popen[bytes]) -> Iterator[int]:
        """Yields the job that a run submits, once some of it is stored; until then and inside, its steps are slow."""
        self._trial.stack.faults.arm(SLOW_STEP, "sleep", SLOW_SECONDS, permanent=True)
        try:
            job = wait_until_submitted(self._trial, job_after)
            deadline = time.monotonic() + COMMAND_SECONDS
            while not self._trial.stored(job) and run.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            yield job
        finally:
            self._trial.stack.faults.disarm(SLOW_STEP)

    def stop(self) -> None:
        self.inkmill("stop")


def newest_job(trial: Trial) -> int:
    """The number of the job that was submitted last, complete or not; 0 where there is none."""
    try:
        ((number,),) = trial.stack.sql.query("SELECT max(id) FROM jobs")
    except Exception:  # nobody has opened the database yet
        return 0
    return int(number or 0)


def wait_until_submitted(trial: Trial, after: int) -> int:
    """Waits for a job newer than that one. Returns its number."""
    deadline = time.monotonic() + COMMAND_SECONDS
    while (newest := newest_job(trial)) <= after:
        if time.monotonic() > deadline:
            raise RuntimeError("nothing was submitted")
        time.sleep(0.05)
    return newest
