"""The README kept true: its commands run, and its tables and examples say what the program says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from contract.errors import SettingsError
from contract.sampling import SETTINGS, read_settings
from contract.settings import Settings
from contract.spec import SamplingSettings, merge
from inkmill.cli import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
RUNNABLE = re.findall(r"<!-- runnable -->\n```sh\n(.*?)```", README, re.DOTALL)


def marked(name: str) -> str:
    """What stands between `<!-- name -->` and the end of its table or block."""
    return README.partition(f"<!-- {name} -->\n")[2]


def table(name: str) -> list[list[str]]:
    """The rows of a marked table, without its header."""
    text = marked(name).partition(f"<!-- /{name} -->")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.strip().splitlines()]
    return rows[2:]


def example(name: str) -> dict[str, Any]:
    """A marked block of JSON."""
    found: dict[str, Any] = json.loads(marked(name).partition("```json\n")[2].partition("```")[0])
    return found


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# The commands.


@dataclass
class Session:
    """The README's blocks, run one after the other in one folder."""

    folder: Path
    env: dict[str, str]

    def run(self, block: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            env=self.env,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
        )
        log = self.folder / "home" / "logs" / "stack.log"
        logged = log.read_text()[-2000:] if log.exists() else ""
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}\n{logged}"
        return done.stdout


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "examples", folder / "examples")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("INKMILL_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    mine = {"PATH": path, "INKMILL_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
    found = Session(folder, clean | mine)
    yield found
    found.run("inkmill stop")


@pytest.fixture(scope="module")
def told(session: Session) -> str:
    """What the README's commands print, all of them having been run in order."""
    return "".join(session.run(block) for block in RUNNABLE)


@pytest.mark.slow
def test_every_runnable_command_of_the_readme_runs(told: str, session: Session) -> None:
    assert len(RUNNABLE) >= 4
    assert len((session.folder / "texts.jsonl").read_text().splitlines()) == 6
    assert (session.folder / "clean.csv").read_text().startswith("id,job,custom_id,")
    assert "prompts.jsonl" in told


@pytest.mark.slow
def test_the_status_and_the_export_line_look_as_shown(told: str, session: Session) -> None:
    status = json.loads(session.run("inkmill status 1 --json"))
    shown = example("status")
    assert list(shown) == list(status)
    for name, value in shown.items():
        assert type(value) is type(status[name]), name
        if isinstance(value, dict):
            assert list(value) == list(status[name])
    line = json.loads((session.folder / "texts.jsonl").read_text().splitlines()[0])
    shown = example("export")
    assert list(shown) == list(line)
    assert list(shown["scores"]) == list(line["scores"])
    assert shown["settings"].keys() <= line["settings"].keys()


def test_bad_lines_are_named_as_shown(session: Session) -> None:
    (session.folder / "bad.jsonl").write_text('{"prompt": "Once", "temprature": 0.7}\n{"prompt": 3}\n')
    shown = re.search(r"```text\n(inkmill: bad.jsonl:.*?)```", README, re.DOTALL)
    assert shown
    assert session.run("inkmill submit bad.jsonl --model demo 2>&1 || [ $? -eq 2 ]") == shown[1]


def test_the_makefile_has_every_target_that_the_readme_names() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make (?:[A-Z_]+=\S+ )*([a-z-]+)", README, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_every_file_that_the_readme_links_is_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert all((ROOT / link).exists() for link in links)


# The tables.


def test_the_settings_table_names_every_setting_its_aliases_and_its_default() -> None:
    defaults = SamplingSettings().to_dict()
    rows = {code(row[0])[0]: row for row in table("settings")}
    assert list(rows) == list(SETTINGS)
    for name, row in rows.items():
        assert tuple(code(row[1])) == SETTINGS[name].aliases
        default = defaults[name]
        assert row[2] == (json.dumps(default) if default not in (None, [], {}) else "none"), name


RANGES = [(code(row[0])[0], row[3]) for row in table("settings")]


@pytest.mark.parametrize(("name", "span"), RANGES, ids=[name for name, _ in RANGES])
def test_a_settings_range_is_the_one_the_table_shows(name: str, span: str) -> None:
    taken, refused = edges(span)
    for value in taken:
        read_settings({name: value})
    for value in refused:
        with pytest.raises(SettingsError, match=name):
            read_settings({name: value})


def edges(span: str) -> tuple[list[object], list[object]]:
    """The outermost values that a range takes, and the nearest ones that it refuses."""
    if span == "true or false":
        return [True, False], [1, "yes"]
    if found := re.fullmatch(r"up to (\d+) texts", span):
        return [["x"] * int(found[1])], [["x"] * (int(found[1]) + 1)]
    if found := re.fullmatch(r"(-?\d+) to (-?\d+) a token", span):
        low, high = map(int, found.groups())
        return [{"5": low}, {"5": high}], [{"5": low - 1}, {"5": high + 1}]
    if found := re.fullmatch(r"above (\d+), to (\d+)", span):
        low, high = map(int, found.groups())
        return [low + 1e-9, high], [low, high + 1]
    if found := re.fullmatch(r"(0\.\d+) to (\d+)", span):
        return [float(found[1]), int(found[2])], [float(found[1]) / 2, int(found[2]) + 1]
    found = re.fullmatch(r"(-?\d+) to (-?\d+)", span)
    assert found, f"cannot read the range {span!r}"
    low, high = map(int, found.groups())
    return [low, high], [low - 1, high + 1]


def test_the_commands_table_lists_every_command() -> None:
    group = typer.main.get_command(app)
    names = [code(row[0])[0].split()[1] for row in table("commands")]
    assert sorted(names) == sorted(group.commands)  # type: ignore[attr-defined]


def test_every_flag_that_the_readme_names_exists() -> None:
    group = typer.main.get_command(app)
    known = {opt for command in group.commands.values() for param in command.params  # type: ignore[attr-defined]
             for opt in param.opts}  # fmt: skip
    ours = "\n".join(line for line in README.splitlines() if not re.search(r"docker|pip install", line))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", re.sub(r"<!--.*?-->", "", ours)))
    assert named
    assert named <= known


def test_the_variables_table_has_every_setting_of_the_installation_and_its_default() -> None:
    rows = {code(row[0])[0]: row[1] for row in table("variables")}
    fields = Settings.model_fields
    assert set(rows) == {f"INKMILL_{name.upper()}" for name in fields}
    for name, field in fields.items():
        if name not in ("home", "database_url", "redis_url"):
            assert rows[f"INKMILL_{name.upper()}"] == str(field.default)


def test_max_length_and_several_greedy_outputs_are_the_errors_that_the_readme_says() -> None:
    with pytest.raises(SettingsError, match="count the prompt"):
        read_settings({"max_length": 5})
    with pytest.raises(SettingsError, match="greedy"):
        merge(SamplingSettings(), {"n": 2, "temperature": 0.0})
