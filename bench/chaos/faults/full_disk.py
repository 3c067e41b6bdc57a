"""Row 11: no room left on the disk under the database, its write-ahead log, the worker's log; and then room again."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from pathlib import Path

import redis

from bench.chaos.disk import SmallDisk, can_mount, small_disk
from bench.chaos.load import Load
from bench.chaos.trial import Row, Trial

DISK_MB, REDIS_MB = 400, 200  # an append-only file is written anew from 64 MB on
FULL_SECONDS, NOTICE_SECONDS = 6.0, 60.0
RETURN_SECONDS = 30.0
WAITING_MESSAGE = "waiting for the database"
PROBE = "chaos-probe"
"""A key of Redis that is nobody's."""


def attack(trial: Trial) -> None:
    if not can_mount():
        trial.check("a file system can be mounted: the bench has to run as root", False)
        return
    with ExitStack() as disks:
        places = _small_disks(trial, disks)
        log = disks.enter_context(small_disk(trial.stack.folder / "logs", 20))
        append_only = _redis_disk(trial, disks)
        load = Load(trial, trial.size(9000, 3000))
        for name, disk in places.items():
            _fill(trial, load, name, disk)
        _fill_redis(trial, load, append_only)
        _fill_log(trial, load, log)
        load.finish()
        load.judge()
        trial.stack.stop_workers()


def _small_disks(trial: Trial, disks: ExitStack) -> dict[str, SmallDisk]:
    postgres = trial.stack.postgres
    if postgres is None:
        return {"database and WAL": disks.enter_context(small_disk(trial.stack.folder / "home", DISK_MB))}
    postgres.halt()
    data = disks.enter_context(small_disk(postgres.folder / "data", DISK_MB))
    wal = disks.enter_context(small_disk(postgres.folder / "data" / "pg_wal", DISK_MB))
    disks.callback(postgres.halt)
    postgres.start()
    return {"database": data, "WAL": wal}


def _fill(trial: Trial, load: Load, name: str, disk: SmallDisk) -> None:
    load.sustain()
    load.submit_another()  # more than the files have room for that they hold already
    load.run_for(trial.random.uniform(1, 3))
    before, count_before = trial.stack.children(), _count_waiting_messages(trial)
    disk.fill()
    end = time.monotonic() + NOTICE_SECONDS
    while _count_waiting_messages(trial) == count_before and time.monotonic() < end:
        time.sleep(0.2)
    trial.check(f"{name}: full, the workers say so", _count_waiting_messages(trial) > count_before)
    time.sleep(FULL_SECONDS if not trial.short else 4)
    trial.check(
        f"{name}: full, the workers wait", trial.stack.children() == before, f"{before} {trial.stack.children()}"
    )
    disk.free()
    wait = load.seconds_until_progress(2 * RETURN_SECONDS, lambda: _supervise(trial, load))
    trial.figure(f"{name}: goes on after, s", wait)
    trial.check(f"{name}: goes on within {RETURN_SECONDS:.0f} s of the room", wait <= RETURN_SECONDS)
    after = trial.stack.children()
    trial.check(f"{name}: the same processes resume", after == before, f"{before} {after}")


def _redis_disk(trial: Trial, disks: ExitStack) -> SmallDisk:
    trial.stack.redis.kill()
    disk = disks.enter_context(small_disk(trial.stack.redis.folder, REDIS_MB))
    disks.callback(trial.stack.redis.kill)
    trial.stack.redis.start()
    return disk


def _fill_redis(trial: Trial, load: Load, disk: SmallDisk) -> None:
    """Redis, whose append-only file has no room, answers every change with an error."""
    load.sustain()
    load.submit_another()
    before = trial.stack.children()
    disk.fill()
    end = time.monotonic() + (FULL_SECONDS if not trial.short else 4)
    refuses = _until_it_refuses(trial)
    time.sleep(max(0.0, end - time.monotonic()))
    trial.check("Redis: full, it refuses what is written", refuses and _refuses(trial))
    trial.check("Redis: full, no worker ends", trial.stack.children() == before)
    disk.free()
    load.sustain()
    wait = load.seconds_until_progress(2 * RETURN_SECONDS, load.sustain, trial.claimed)
    trial.figure("Redis: goes on after, s", wait)
    trial.check(f"Redis: goes on within {RETURN_SECONDS:.0f} s of the room", wait <= RETURN_SECONDS)
    trial.check("Redis: the same processes resume", trial.stack.children() == before)


def _until_it_refuses(trial: Trial) -> bool:
    """Redis sees that its disk is full when it writes, and refuses what comes after that."""
    end = time.monotonic() + NOTICE_SECONDS
    while time.monotonic() < end:
        if _refuses(trial):
            return True
        time.sleep(0.1)
    return False


def _refuses(trial: Trial) -> bool:
    client = trial.stack.redis.client()
    try:
        client.set(PROBE, bytes(2**16))  # more than the last page of its file may have room for
        client.delete(PROBE)
    except redis.ResponseError:
        return client.info("persistence")["aof_last_write_status"] == "err"  # type: ignore[index]
    return False


def _fill_log(trial: Trial, load: Load, disk: SmallDisk) -> None:
    """Nothing can be written to the log; that is no reason to stop."""
    load.sustain()
    load.submit_another()
    before = trial.stack.children()
    disk.fill()
    with suppress(redis.ResponseError):  # it may not have noticed yet that its own disk has room again
        trial.stack.redis.client().flushall()
    wait = load.seconds_until_progress(RETURN_SECONDS, load.sustain)
    trial.stack.redis.kill()  # what is said of it has no place
    time.sleep(2)
    trial.stack.redis.start()
    load.run_for(2)
    found = f"after {wait:.1f} s; {before} {trial.stack.children()}"
    trial.check("the log: its disk was full all the while", disk.full)
    trial.check("the log: full, the work goes on", wait < RETURN_SECONDS and trial.stack.children() == before, found)
    disk.free()


def _supervise(trial: Trial, load: Load) -> None:
    """PostgreSQL ends itself where its WAL has no room, at once or when it tries to recover: it is started again."""
    if trial.stack.postgres is not None and trial.stack.postgres.ended:
        trial.stack.postgres.start()
    load.sustain()


def _count_waiting_messages(trial: Trial) -> int:
    """How often the workers' logs say that they wait."""
    logs: list[Path] = [worker.log for worker in trial.stack.workers]
    return sum(log.read_text(errors="replace").count(WAITING_MESSAGE) for log in logs)


ROW = Row(
    number=11,
    fault="the disk full under the database, its WAL, Redis, the log; then freed",
    promise="the worker pauses and says so, resumes by itself; 0 lost, 0 double",
    attack=attack,
    note="a tmpfs of 400 MB; with SQLite, database and WAL lie in one folder",
)
