"""The wheel on its own: built, installed into an environment that cannot see the checkout, and used there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_SOURCE = (".*", "build", "dist", "*.egg-info", "__pycache__", "tests", "bench", "docs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: a build folder left in the checkout would get into it, and this one would stay."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "source", ignore=shutil.ignore_patterns(*NOT_SOURCE))
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    done = subprocess.run(
        [*build, "--wheel-dir", str(folder), str(folder / "source")], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("inkmill-*.whl"))


@dataclass
class Installation:
    """An environment with the wheel in it, and somewhere else to work."""

    bin: Path
    home: Path
    work: Path

    def run(self, *command: str) -> str:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("INKMILL_", "PYTHONPATH"))}
        mine = {"INKMILL_HOME": str(self.home), "INKMILL_IDLE_SECONDS": "10", "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
        words = [str(self.bin / command[0]), *command[1:]]
        done = subprocess.run(words, env=clean | mine, cwd=self.work, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}\n{self.log()}"
        return done.stdout

    def log(self) -> str:
        log = self.home / "logs" / "stack.log"
        return log.read_text()[-3000:] if log.exists() else ""


@pytest.fixture(scope="module")
def installation(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "env", with_pip=False, symlinks=True)
    made = sysconfig.get_path("purelib", "venv", {"base": str(folder / "env"), "platbase": str(folder / "env")})
    # Our dependencies are borrowed from this environment. Its own .pth files, and with them an editable checkout,
    # are not read from there.
    Path(made, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = str(folder / "env" / "bin" / "python")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    done = subprocess.run([*install, "--ignore-installed", str(wheel)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    found = Installation(folder / "env" / "bin", folder / "home", folder / "work")
    found.work.mkdir()
    # Our packages have everyday names: a folder of the user's own must not get in their way.
    for name in ("worker", "db", "contract"):
        (found.work / name).mkdir()
        (found.work / name / "__init__.py").write_text("raise SystemExit('the wrong package')\n")
    yield found
    found.run("inkmill", "stop")


def test_the_wheel_holds_the_packages_their_data_and_the_licence(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    data = [
        path
        for folder in ("worker/demo", "db/migrations", "review/templates", "review/static")
        for path in (ROOT / folder).rglob("*")
    ]
    expected = {
        path.relative_to(ROOT).as_posix() for path in data if path.is_file() and "__pycache__" not in path.parts
    }
    assert expected
    assert expected <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"common", "contract", "db", "producer", "review", "worker", "inkmill"}


def test_every_module_of_the_checkout_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    packages = ("common", "contract", "db", "producer", "review", "worker", "inkmill")
    modules = {path.relative_to(ROOT).as_posix() for name in packages for path in (ROOT / name).rglob("*.py")}
    assert modules <= names


def test_the_installed_copy_is_the_one_that_runs(installation: Installation) -> None:
    packages = ("inkmill", "worker", "db", "common", "contract", "producer", "review")
    program = f"import {', '.join(packages)}; print(*(p.__file__ for p in ({', '.join(packages)})), sep='\\n')"
    files = installation.run("python", "-P", "-c", program).split()
    assert len(files) == len(packages)
    assert all(Path(file).is_relative_to(installation.bin.parent) for file in files)
    assert installation.run("inkmill", "--version").startswith("inkmill ")


@pytest.mark.slow
def test_the_installed_wheel_runs_the_demo_from_another_folder(installation: Installation) -> None:
    prompts = ROOT / "examples" / "prompts.jsonl"
    rows = [json.loads(line) for line in prompts.read_text().splitlines()]
    status = json.loads(
        installation.run(
            "inkmill", "run", str(prompts), "--model", "demo", "--safety", "demo", "-o", "t.jsonl", "--json"
        )
    )
    assert status["status"] == "completed"
    texts = [json.loads(line) for line in (installation.work / "t.jsonl").read_text().splitlines()]
    assert len(texts) == sum(row.get("n", 1) for row in rows) == status["outputs"]["scored"]
    assert all(text["scores"] for text in texts)
    assert (installation.home / "inkmill.db").stat().st_mode & 0o077 == 0
