"""The papers kept true: their commands run, their tables and examples say what the program says, their links lead on.

Users read the README and the pages of docs/ that it leads to; the other papers are for those who change the code.
"""

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
FLOORS = ("common", "contract", "db", "producer", "review", "worker", "inkmill")
PAGES = {
    name: (ROOT / name).read_text()
    for name in (
        "README.md",
        "docs/input.md",
        "docs/settings.md",
        "docs/commands.md",
        "docs/reviewing.md",
        "docs/models.md",
        "docs/tuning.md",
        "docs/configuration.md",
        "docs/deployment.md",
        "docs/reproducibility.md",
    )
}
"""What users read, in the order in which the commands of all pages run one after the other."""
MAP = (ROOT / "ARCHITECTURE.md").read_text()
PAPERS = sorted(
    str(path.relative_to(ROOT))
    for folder in (".", "docs", "docs/measurements", "bench")
    for path in (ROOT / folder).glob("*.md")
)
RUNNABLE = [
    (name, block)
    for name, page in PAGES.items()
    for block in re.findall(r"<!-- runnable -->\n```sh\n(.*?)```", page, re.DOTALL)
]


def marked(page: str, name: str) -> str:
    """What stands on a page after `<!-- name -->`."""
    text = PAGES[page].partition(f"<!-- {name} -->\n")[2]
    assert text, f"{page} has no {name}"
    return text


def table(page: str, name: str) -> list[list[str]]:
    """The rows of a marked table, without its header."""
    text = marked(page, name).partition(f"<!-- /{name} -->")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.strip().splitlines()]
    return rows[2:]


def example(name: str) -> dict[str, Any]:
    """A marked block of JSON."""
    found: dict[str, Any] = json.loads(marked("docs/commands.md", name).partition("```json\n")[2].partition("```")[0])
    return found


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# The commands.


@dataclass
class Session:
    """The pages' blocks, run one after the other in one folder."""

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
    """What the pages' commands print, all of them having been run in order."""
    return "".join(session.run(block) for _, block in RUNNABLE)


@pytest.mark.slow
def test_every_runnable_command_runs(told: str, session: Session) -> None:
    assert {"README.md", "docs/input.md", "docs/reproducibility.md"} <= {name for name, _ in RUNNABLE}
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
    shown = re.search(r"```text\n(inkmill: bad.jsonl:.*?)```", PAGES["docs/input.md"], re.DOTALL)
    assert shown
    assert session.run("inkmill submit bad.jsonl --model demo 2>&1 || [ $? -eq 2 ]") == shown[1]


# The papers as papers.


@pytest.mark.parametrize("paper", PAPERS)
def test_the_makefile_has_every_target_that_a_document_names(paper: str) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make (?:[A-Z_]+=\S+ )*([a-z0-9-]+)", (ROOT / paper).read_text(), re.MULTILINE))
    assert named <= targets
    assert {"demo", "test"} <= named or not paper.startswith("README")


@pytest.mark.parametrize("paper", PAPERS)
def test_every_link_leads_to_an_existing_file_and_heading(paper: str) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", (ROOT / paper).read_text()):
        if "://" in link:
            continue
        name, _, place = link.partition("#")
        target = (ROOT / paper).parent / name if name else ROOT / paper
        assert target.exists(), link
        assert not place or place in anchors(target.read_text()), link


def anchors(page: str) -> set[str]:
    """What `#…` may say of a page: its headings, as GitHub spells them in addresses."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    assert len(PAGES["README.md"].splitlines()) < 200
    assert all(f"]({name}" in PAGES["README.md"] for name in PAGES if name != "README.md")


def test_the_chinese_page_has_the_same_first_job() -> None:
    assert RUNNABLE[0] == ("README.md", RUNNABLE[0][1])
    assert RUNNABLE[0][1] in (ROOT / "README.zh-CN.md").read_text()


def test_the_architecture_names_every_package_and_only_existing_files() -> None:
    rooms = {f"{path.parent.relative_to(ROOT)}/" for floor in FLOORS for path in (ROOT / floor).rglob("__init__.py")}
    assert {room for room in rooms if f"`{room}`" not in MAP} == set()
    top = "|".join((*FLOORS, "bench", "docs", "tests", "tools", "examples"))
    named = re.findall(rf"`((?:{top})/[\w./]*|[A-Z]+\.md|\.importlinter|Makefile)`", MAP)
    assert len(named) > 100
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_the_architecture_finds_every_file_in_its_room() -> None:
    rows = re.findall(r"^\| `([a-z_/]+/)` \| [^|]+ \| ([^|]+) \|$", MAP, re.MULTILINE)
    floors = re.findall(r"^\*\*`([a-z]+/)`\*\*: (.+?)\n\n", MAP, re.MULTILINE | re.DOTALL)
    told = {room: set(re.findall(r"`(\w+\.py)`", files)) for room, files in rows + floors if ".py`" in files}
    assert len(told) > 30
    for room, files in told.items():
        assert {file for file in files if not (ROOT / room / file).exists()} == set(), room


# The tables.


def test_the_settings_table_names_every_setting_its_aliases_and_its_default() -> None:
    defaults = SamplingSettings().to_dict()
    rows = {code(row[0])[0]: row for row in table("docs/settings.md", "settings")}
    assert list(rows) == list(SETTINGS)
    for name, row in rows.items():
        assert tuple(code(row[1])) == SETTINGS[name].aliases
        assert row[3].replace("`", "") == SETTINGS[name].range
        default = defaults[name]
        assert row[2] == (json.dumps(default) if default not in (None, [], {}) else "none"), name


RANGES = [(code(row[0])[0], row[3]) for row in table("docs/settings.md", "settings")]


@pytest.mark.parametrize(("name", "span"), RANGES, ids=[name for name, _ in RANGES])
def test_the_range_of_every_setting_is_the_one_in_the_table(name: str, span: str) -> None:
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
    if re.fullmatch(r"`[\w-]+`((, | or )`[\w-]+`)+", span):
        names = re.findall(r"[\w-]{3,}", span)
        return names, [names[0].upper(), ""]
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
    names = [code(row[0])[0].split()[1] for row in table("docs/commands.md", "commands")]
    assert sorted(names) == sorted(group.commands)  # type: ignore[attr-defined]


def every_command() -> Iterator[Any]:
    """The commands, and those that some of them have of their own."""
    waiting: list[Any] = [typer.main.get_command(app)]
    while waiting:
        command = waiting.pop()
        yield command
        waiting += getattr(command, "commands", {}).values()


@pytest.mark.parametrize("page", [*PAGES, "README.zh-CN.md"])
def test_every_flag_that_a_page_names_exists(page: str) -> None:
    known = {opt for command in every_command() for param in command.params for opt in param.opts}
    text = (ROOT / page).read_text()
    ours = "\n".join(line for line in text.splitlines() if not re.search(r"docker|pip install", line))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", re.sub(r"<!--.*?-->", "", ours)))
    assert named <= known


def test_the_variables_table_has_every_setting_of_the_installation_and_its_default() -> None:
    rows = {code(row[0])[0]: row[1] for row in table("docs/configuration.md", "variables")}
    fields = Settings.model_fields
    assert set(rows) == {f"INKMILL_{name.upper()}" for name in fields}
    for name, field in fields.items():
        if name not in ("home", "database_url", "redis_url", "models"):
            assert rows[f"INKMILL_{name.upper()}"] == str(field.default)


def test_max_length_and_several_greedy_outputs_are_errors_as_the_settings_page_says() -> None:
    with pytest.raises(SettingsError, match="count the prompt"):
        read_settings({"max_length": 5})
    with pytest.raises(SettingsError, match="greedy"):
        merge(SamplingSettings(), {"n": 2, "temperature": 0.0})
