"""Row 19: the embedded Redis' files are damaged, emptied or of another version while a job runs, and it is killed."""

from __future__ import annotations

import time
from pathlib import Path

from bench.chaos.home import OwnHome, newest_job
from bench.chaos.prompts import MODEL, SAFETY
from bench.chaos.stack import COMMAND_SECONDS
from bench.chaos.trial import Row, Trial

RETURN_SECONDS = 30.0
WAYS = ("damaged", "emptied", "of another version")


def attack(trial: Trial) -> None:
    home = OwnHome(trial, "own")
    waits: list[float] = []
    try:
        for number in range(trial.size(9, 3)):
            waits.append(_spoil_during_job(trial, home, WAYS[number % len(WAYS)]))
    finally:
        home.stop()
    trial.figure("goes on after that, s, longest", max(waits))
    trial.check(f"Redis is back within {RETURN_SECONDS:.0f} s", max(waits) <= RETURN_SECONDS)
    kept = len(list((home.folder / "redis").glob("set-aside-*")))
    trial.check("what was set aside is kept, a few of them", 0 < kept <= len(WAYS), f"{kept} folders")
    trial.judge()


def _spoil_during_job(trial: Trial, home: OwnHome, way: str) -> float:
    """One job, in the middle of which the files are spoilt. Returns how long it took until Redis was there again."""
    file, before = trial.prompts(trial.size(6200, 800)), newest_job(trial)
    words = ("run", str(file.path), "--model", MODEL, "--safety", SAFETY, "--seed", str(trial.job_seed()))
    run, log = home.start(*words)
    with home.slowed_job(before, run) as job:
        old = home.redis()
        if old is None:
            raise RuntimeError("the stack has no Redis")
        damage_files(trial, home.folder / "redis" / "appendonlydir", way)
        old.kill()
        started = time.monotonic()
        while (now := home.redis()) is None or now.pid == old.pid or not _is_noted(log):
            if time.monotonic() - started > 2 * RETURN_SECONDS:
                break
            time.sleep(0.1)
        waited = time.monotonic() - started
    log_tail = log.read_text()[-300:]
    trial.check(f"{way}: the run notes what was set aside", _is_noted(log), "" if _is_noted(log) else log_tail)
    finished = run.wait(COMMAND_SECONDS) == 0
    trial.check(f"{way}: work goes on to its end", finished, "" if finished else log_tail)
    trial.stack.ledger.acknowledge(job, file.outputs)
    return waited


def _is_noted(log: Path) -> bool:
    return "note: the local Redis could not read its files" in log.read_text()


def damage_files(trial: Trial, files: Path, way: str) -> None:
    if way == "of another version":
        # Its base file is of a format of a server to come: "REDIS" and four digits.
        for base in files.glob("*.base.rdb"):
            base.write_bytes(b"REDIS9999" + base.read_bytes()[9:])
        return
    for file in files.iterdir():
        file.write_bytes(trial.random.randbytes(200) if way == "damaged" else b"")


ROW = Row(
    number=19,
    fault="the embedded Redis' files damaged, emptied, or made another version's in the middle of a job, and Redis "
    "killed; 3 times each on each database",
    promise="they are set aside with a note, and work goes on within 30 s; 0 lost, 0 double",
    attack=attack,
)
