"""The Compose files and the Dockerfile as their tests read them: merged, with variables filled in."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
BASE, CPU = ROOT / "docker-compose.yml", ROOT / "docker-compose.cpu.yml"
RESET = object()
PASSWORDS = ("INKMILL_REDIS_PASSWORD", "INKMILL_POSTGRES_PASSWORD")
SECRETS = {name: secrets.token_hex(12) for name in PASSWORDS}
VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\})")


class _Loader(yaml.SafeLoader):
    """YAML with Compose's own tag."""


_Loader.add_constructor("!reset", lambda loader, node: RESET)


class Missing(Exception):
    """A variable that a Compose file requires is not set."""


def interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    """`value` with Compose's `${NAME:-default}`, `${NAME:?message}` and `$$` replaced."""
    if isinstance(value, dict):
        return {name: interpolated(item, variables) for name, item in value.items()}
    if isinstance(value, list):
        return [interpolated(item, variables) for item in value]
    return VARIABLE.sub(lambda found: _replacement(found, variables), value) if isinstance(value, str) else value


def _replacement(found: re.Match[str], variables: Mapping[str, str]) -> str:
    if found.group() == "$$":
        return "$"
    said = variables.get(found["name"], "")
    if not said and found["kind"] == "?":
        raise Missing(f"{found['name']}: {found['rest']}")
    return said or found["rest"] or ""


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Two Compose files as `docker compose -f BASE -f OVER` takes them together."""
    result = dict(base)
    for name, value in over.items():
        there = result.get(name)
        if value is RESET:
            result.pop(name, None)
        elif isinstance(value, dict) and isinstance(there, dict):
            result[name] = merged(there, value)
        elif isinstance(value, list) and isinstance(there, list):
            result[name] = there + value
        else:
            result[name] = value
    return result


def compose(*overrides: Path, variables: Mapping[str, str] = SECRETS) -> dict[str, Any]:
    """The Compose file, with overrides laid over it and variables filled in."""
    found: dict[str, Any] = {}
    for path in (BASE, *overrides):
        found = merged(found, yaml.load(path.read_text(), _Loader))
    result: dict[str, Any] = interpolated(found, variables)
    return result


def services(*overrides: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose(*overrides)["services"]
    return found


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, continued lines joined."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def entrypoint() -> list[str]:
    found: list[str] = json.loads(next(rest for name, rest in instructions() if name == "ENTRYPOINT"))
    return found
