"""What a fresh process loads: the front door answers at once, and only a worker pays for torch.

import-linter reads the imports as they are written; this runs them, the indirect ones too.
"""

from __future__ import annotations

import subprocess
import sys

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
    "command", ["", "run", "submit", "status", "worker", "export", "reproduce", "try", "web", "doctor"]
)
def test_help_loads_neither_torch_nor_sqlalchemy_nor_celery(command: str) -> None:
    found = loaded_by("-m", "inkmill", *command.split(), "--help")
    assert "typer" in found
    assert not found & (HEAVY | MIDDLE)


def test_the_version_loads_nothing_heavy() -> None:
    assert not loaded_by("-m", "inkmill", "--version") & (HEAVY | MIDDLE)


@pytest.mark.parametrize(
    "module",
    ["inkmill.cli", "inkmill.local.daemon", "inkmill.running", "inkmill.reproduction", "producer.submit",
     "producer.export", "db.jobs.status", "db.work.claims", "contract.queue", "contract.policy", "review.server",
     "worker.supervise.supervisor", "worker.demo"],
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
from worker.supervise.spawn import NEEDED, preload
before = set(os.listdir("/proc/self/fd"))
preload()
print(set(NEEDED) <= sys.modules.keys(), len(os.listdir("/proc/self/task")), set(os.listdir("/proc/self/fd")) - before)
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
