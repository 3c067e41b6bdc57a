"""A home whose name is hard on URLs: everything works there, and nothing lands elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from contract.settings import Settings
from inkmill.local.stack import Stack
from tests.acceptance.conftest import INKMILL, Home

DEMO = ("--model", "demo", "--safety", "demo")


NAME = "%2F% %20#?@ü;\n"
"""A slash, a blank and a line end as URLs write them, and what ends a part of one."""


def test_any_home_works(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    (tmp_path / "file").write_text("")
    home = Home(tmp_path / NAME, {"INKMILL_IDLE_SECONDS": "60"})
    try:
        (home.folder / "p.txt").write_text("Once\nAt dawn\n")
        home.inkmill("run", "p.txt", *DEMO, "--max-new-tokens", "4")
        assert home.status()["outputs"]["scored"] == 2
        found = {finding["what"]: finding for finding in json.loads(home.inkmill("doctor", "--json").stdout)}
        assert found["database"]["detail"] == str(home.folder / "inkmill.db")
        assert found["redis"]["state"] == "ok" and "answers" in found["redis"]["detail"]
        assert (home.folder / "redis" / "redis.sock").is_socket()
        assert page_of(home).startswith("http://127.0.0.1:")
    finally:
        home.close()
    assert not Stack(Settings(home=home.folder)).read().runs
    assert sorted(os.listdir(tmp_path)) == sorted(["file", NAME])


def page_of(home: Home) -> str:
    """The address of the review page, which comes up and goes again."""
    words = [*INKMILL, "web", "--port", "0", "--json"]
    page = subprocess.Popen(words, env=home.env, cwd=home.folder, stdout=subprocess.PIPE, text=True)
    try:
        assert page.stdout is not None
        printed = ""
        for line in page.stdout:
            printed += line
            if line.startswith("}"):
                break
        address: str = json.loads(printed)["url"]
        return address
    finally:
        page.terminate()
        page.communicate()
