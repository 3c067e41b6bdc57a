"""The Docker files as they are written: by Compose's schema, and by what they promise.

What their commands do is for tests/acceptance/test_services.py; what the images bring is seen by neither.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft201909Validator

from contract.settings import Settings
from tests.compose import (
    BASE,
    CPU,
    PASSWORDS,
    ROOT,
    VARIABLE,
    Missing,
    compose,
    entrypoint,
    instructions,
    merged,
    services,
)

SCHEMA = json.loads((ROOT / "tests" / "data" / "compose_spec.json").read_text())
OURS = ("migrate", "worker", "producer")


@pytest.mark.parametrize("overrides", [(), (CPU,)], ids=["gpu", "cpu"])
def test_the_files_follow_the_compose_schema(overrides: tuple[Path, ...]) -> None:
    errors = [f"{'/'.join(map(str, e.path))}: {e.message}"
              for e in Draft201909Validator(SCHEMA).iter_errors(compose(*overrides))]  # fmt: skip
    assert not errors


def test_the_schema_refuses_a_misspelt_key() -> None:
    wrong = merged(compose(), {"services": {"worker": {"healtcheck": {}}}})
    assert not Draft201909Validator(SCHEMA).is_valid(wrong)


@pytest.mark.parametrize("name", PASSWORDS)
def test_compose_refuses_to_start_without_a_password(name: str) -> None:
    for empty in ({}, {name: ""}):
        with pytest.raises(Missing, match=name):
            compose(variables={**{other: "x" for other in PASSWORDS if other != name}, **empty})


def test_no_password_has_a_default_and_the_example_gives_none() -> None:
    assert not re.search(r"PASSWORD:?-", BASE.read_text() + CPU.read_text())
    example = (ROOT / ".env.example").read_text()
    for name in PASSWORDS:
        assert re.search(rf"^{name}=$", example, re.MULTILINE)


def test_the_example_names_every_variable_of_the_compose_files() -> None:
    asked = {found["name"] for found in VARIABLE.finditer(BASE.read_text()) if found["name"]}
    told = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert asked == told


def test_no_port_is_published_beyond_this_machine() -> None:
    published = [str(port) for service in services().values() for port in service.get("ports", [])]
    assert all(port.startswith(("127.0.0.1:", "[::1]:")) for port in published)
    assert all("network_mode" not in service for service in services().values())


def test_the_worker_reserves_a_gpu_and_the_override_takes_that_away() -> None:
    devices = services()["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    without = services(CPU)
    assert "deploy" not in without["worker"]
    assert without["worker"]["command"] == services()["worker"]["command"]


def test_a_worker_may_finish_before_docker_kills_it() -> None:
    allowed = int(services()["worker"]["stop_grace_period"].removesuffix("s"))
    # The parent waits out the grace it gives its child, then accounts for it in the database.
    assert allowed >= Settings.model_fields["grace_seconds"].default + 10


def test_every_service_waits_for_what_it_needs() -> None:
    found = services()
    for name in OURS:
        for other, how in found[name]["depends_on"].items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in found[other]
            else:
                assert how["condition"] == "service_completed_successfully"
                assert found[other]["restart"] == "no"
    assert {"migrate", "redis"} <= set(found["worker"]["depends_on"])


def test_data_and_models_live_in_named_volumes() -> None:
    found, named = services(), set(compose()["volumes"])
    for name in ("redis", "postgres", "worker"):
        assert found[name]["volumes"][0].partition(":")[0] in named
    models = found["worker"]["volumes"][0].partition(":")[2]
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f"HF_HOME={models}/" in dockerfile
    assert f"TORCH_HOME={models}/" in dockerfile


def test_the_image_runs_our_command_and_not_as_root() -> None:
    names = [name for name, _ in instructions()]
    users = [rest for name, rest in instructions() if name == "USER"]
    assert users[-1] not in ("root", "0")
    assert "RUN" not in names[len(names) - names[::-1].index("USER") :]
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert entrypoint()[0] in scripts


def test_what_the_image_is_built_from_gets_past_dockerignore() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {name.rstrip("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    files = {"pyproject.toml", "constraints.txt", project["project"]["readme"], *project["project"]["license-files"]}
    assert allowed == packages | files
    assert all((ROOT / name).exists() for name in allowed)
