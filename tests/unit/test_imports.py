"""What a fresh process loads: the front door answers at once, and only a worker pays for torch.

import-linter reads the imports as they are written; this runs them, the indirect ones too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HEAVY = {"torch", "transformers", "detoxify"}
MIDDLE = {"sqlalchemy", "celery", "pyarrow"}
"""Quick enough for a command that needs them, too slow for one that only answers a question."""


def loaded_by(*arguments: str) -> set[str]:
    """The top-level packages that a fresh interpreter imports on its way through `arguments`."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = (line for line in done.stderr.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def test_the_probe_sees_what_is_loaded_inside_a_function() -> None:
    assert "torch" in loaded_by("-c", "def late():\n import worker.engine.sampling.sampler\nlate()")


@pytest.mark.parametrize(
    "command", ["", "run", "submit", "status", "worker", "export", "reproduce", "evaluate", "try", "web", "doctor"]
)
def test_help_loads_neither_torch_nor_sqlalchemy_nor_celery(command: str) -> None:
    found = loaded_by("-m", "inkmill", *command.split(), "--help")
    assert "typer" in found
    assert not found & (HEAVY | MIDDLE)


def test_the_version_loads_nothing_heavy() -> None:
    assert not loaded_by("-m", "inkmill", "--version") & (HEAVY | MIDDLE)


@pytest.mark.parametrize(
    "module",
    ["inkmill.cli", "inkmill.local.daemon", "inkmill.run", "inkmill.reproduce", "producer.submit", "producer.export",
     "producer.corpus.prepare", "db.jobs.status", "db.work.claims", "contract.queue", "contract.policy",
     "review.server", "worker.supervise.supervisor", "worker.demo"],
)  # fmt: skip
def test_only_the_workers_child_loads_torch(module: str) -> None:
    found = loaded_by("-c", f"import {module}")
    assert module.partition(".")[0] in found
    assert not found & HEAVY


@pytest.mark.parametrize("module", ["worker.engine.sequence", "worker.engine.scheduler"])
def test_the_engines_decisions_load_no_torch(module: str) -> None:
    assert "torch" not in loaded_by("-c", f"import {module}")


def test_the_workers_parent_loads_no_celery() -> None:
    assert "celery" not in loaded_by("-c", "import worker.supervise.supervisor")


def test_what_is_loaded_before_a_fork_starts_no_thread_and_opens_nothing() -> None:
    """A fork copies one thread alone, and files that are open are shared with it."""
    program = """
import os, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as the worker's parent sets it
from worker.supervise.spawn import CHILD_IMPORTS, preload
before = set(os.listdir("/proc/self/fd"))
preload()
loaded = set(CHILD_IMPORTS) <= sys.modules.keys()
print(loaded, len(os.listdir("/proc/self/task")), set(os.listdir("/proc/self/fd")) - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "1", "set()"]


def test_a_command_that_reads_the_database_loads_no_torch(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INKMILL_HOME", str(tmp_path_factory.mktemp("home")))
    found = loaded_by("-m", "inkmill", "jobs")
    assert "sqlalchemy" in found
    assert not found & HEAVY


def test_a_submit_without_a_redis_to_tell_loads_no_celery(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("INKMILL_HOME", str(home))
    monkeypatch.delenv("INKMILL_REDIS_URL", raising=False)
    (home / "p.txt").write_text("Once upon a time\n")
    found = loaded_by("-m", "inkmill", "submit", str(home / "p.txt"), "--model", "demo", "--safety", "demo")
    assert "sqlalchemy" in found
    assert not found & (HEAVY | {"celery", "redis"})


ROOM = Path(__file__).parents[2]
PACKAGES = ("common", "contract", "db", "producer", "review", "worker", "inkmill", "bench", "tools")
OURS = os.pathsep.join(str(ROOM / name) for name in PACKAGES)
ELSEWHERE = {"db.migrations.env", "bench.chaos.inside.sitecustomize", "bench.load.inside.sitecustomize"}
"""Run by Alembic, and by interpreters that are to fail: they act by design."""
NOT_EVERYWHERE = {"triton", "ctranslate2", "llama_cpp", "openvino", "plyvel", "tensorflow", "gpt_2_simple"}
"""Libraries that this environment may lack, and with them the modules that need them."""

IMPORTING = """
import importlib, json, os, secrets, sys

ours, *modules = sys.argv[1:]
OURS = tuple(os.path.join(folder, "") for folder in ours.split(os.pathsep))
READING = ("open", "os.listdir", "os.scandir")
ACTS = READING + (
    "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.utime", "os.chmod", "os.chown",
    "os.truncate", "os.putenv", "os.unsetenv", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn",
    "os.kill", "subprocess.Popen", "socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo",
    "socket.gethostname", "sqlite3.connect", "tempfile.mkstemp", "tempfile.mkdtemp", "_thread.start_new_thread",
)
acts, failures, module = [], {}, None


def asked_by_us():
    # From the innermost frame outwards: a library that is being imported answers for itself. transformers, torch and
    # numba look for their caches and settings then, and read /proc; only what our own code calls is ours.
    frame = sys._getframe(2)
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        if frame.f_code.co_filename.startswith(OURS):
            return True
        frame = frame.f_back
    return False


def hook(event, values):
    if event not in ACTS or module is None or not asked_by_us():
        return
    if event == "open" and str(values[0]).endswith(".py"):
        return  # inspect reads sources, for dataclasses and for Triton's kernels
    acts.append(f"{module}: {event} {values[:2]!r}")


def draw(*_):
    raise RuntimeError("a secret is drawn")


secrets.token_hex = secrets.token_bytes = secrets.token_urlsafe = secrets.randbelow = draw
sys.addaudithook(hook)
for module in modules:
    try:
        importlib.import_module(module)
    except BaseException as error:
        failures[module] = [type(error).__name__, str(error)[-300:], getattr(error, "name", None)]
module = None
import logging, structlog
print(json.dumps({"acts": acts, "failures": failures, "handlers": repr(logging.root.handlers),
                  "structlog": structlog.is_configured()}))
"""
"""Imports modules, and tells what that tried to do beside importing."""


def modules() -> list[str]:
    """Every module of ours; not what `make bench-peers` installs."""
    files = (path.relative_to(ROOM) for name in PACKAGES for path in (ROOM / name).rglob("*.py"))
    ours = (file for file in files if not any(part.startswith(".") for part in file.parts))
    names = (".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in ours)
    return sorted(set(names) - ELSEWHERE)


def tried_by(folder: Path, *names: str, ours: str = OURS) -> dict[str, Any]:
    """What it says where nothing of a user's can be written, and where `inkmill.toml` would be read from `folder`."""
    (folder / "file").touch()
    (folder / "inkmill.toml").touch()
    nowhere = str(folder / "file" / "below")
    unusable = ("HOME", "INKMILL_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "NUMBA_CACHE_DIR", "TMPDIR")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("INKMILL_")}
    done = subprocess.run(
        [sys.executable, "-B", "-c", IMPORTING, ours, *names],
        env=kept | {"PYTHONPATH": os.pathsep.join([str(ROOM), str(folder)])} | dict.fromkeys(unusable, nowhere),
        cwd=folder, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def test_importing_never_acts(tmp_path: Path) -> None:
    said = tried_by(tmp_path, *modules())
    assert said["acts"] == []
    missing = {module for module, (*_, name) in said["failures"].items() if name in NOT_EVERYWHERE}
    assert {module: why for module, why in said["failures"].items() if module not in missing} == {}
    assert (said["handlers"], said["structlog"]) == ("[]", False)


def test_the_probe_sees_what_an_import_does(tmp_path: Path) -> None:
    acting = {
        "makes_a_folder": ("from pathlib import Path\nPath('x').mkdir()", "os.mkdir"),
        "reads_settings": ("from contract.settings import settings\nsettings()", "open"),
        "makes_the_app": ("from contract.queue import app", "open"),
        "finds_compiled_code": ("from worker.engine.compiled.compiling import code_folder\ncode_folder()", "os.mkdir"),
        "connects": ("import socket\nsocket.create_connection(('127.0.0.1', 1))", "socket.connect"),
        "starts_a_process": ("import subprocess\nsubprocess.run(['true'])", "subprocess.Popen"),
        "changes_the_environment": ("import os\nos.environ['X'] = '1'", "os.putenv"),
    }
    for name, (source, _) in acting.items():
        (tmp_path / f"{name}.py").write_text(source)
    (tmp_path / "draws.py").write_text("import secrets\nsecrets.token_hex()")
    (tmp_path / "logs.py").write_text("import logging, structlog\nlogging.basicConfig()\nstructlog.configure()")
    said = tried_by(tmp_path, *acting, "draws", "logs", ours=str(tmp_path))
    for name, (_, event) in acting.items():
        assert any(act.startswith(f"{name}: {event} ") for act in said["acts"]), name
    assert said["failures"]["draws"][1] == "a secret is drawn"
    assert (said["handlers"] != "[]", said["structlog"]) == (True, True)
