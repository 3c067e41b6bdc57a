"""Chromium, driven by Playwright, against `inkmill web` as users start it: a process of its own, a real database."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from db.session.engine import Database, open_database
from tests.browser.stock import Piece, stock

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FIRST_MS = 15_000
"""The first page of a process may take long on a busy machine."""


def unavailable(why: str) -> NoReturn:
    """Skips, loudly: a browser cannot be had everywhere."""
    warnings.warn(f"BROWSER TESTS SKIPPED: {why}", stacklevel=2)
    pytest.skip(why)


def program(*names: str) -> str:
    """The path of a program by the first of its names; `make test` installs Chromium where it may."""
    found = next(filter(None, map(shutil.which, names)), None)
    return found or unavailable(f"there is no {names[0]}; say: apt-get install {names[0]}")


def chromium() -> str:
    """The path of a Chromium."""
    return program(*CHROMIUM)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    path = chromium()
    with sync_playwright() as playwright:
        # Root has no sandbox of Chromium's; what it opens here are our own pages.
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield launched
        launched.close()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@dataclass
class Web:
    """`inkmill web` in a home of its own; it can be killed and started again at the same address."""

    home: Path
    port: int = field(default_factory=free_port)
    options: Sequence[str] = ("--as", "mara")
    process: subprocess.Popen[str] | None = None
    url: str = ""

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("INKMILL_")}
        command = [sys.executable, "-m", "inkmill", "web", "--json", "--port", str(self.port), *self.options]
        with (self.home / "web.log").open("a") as log:
            self.process = subprocess.Popen(
                command, env=env | {"INKMILL_HOME": str(self.home)}, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        said = ""
        while not said.endswith("}\n"):
            line = self.process.stdout.readline()
            assert line, (self.home / "web.log").read_text()
            said += line
        self.url = json.loads(said)["url"]

    def kill(self) -> None:
        """kill -9: no last words."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()


@dataclass
class Sitting:
    """A stocked database, a server over it, and reviewers at their browsers."""

    browser: Browser
    web: Web
    database: Database
    outputs: list[int]
    contexts: list[BrowserContext] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def reviewer(self, token: str | None = None, **how: Any) -> Page:
        """A reviewer who has signed in and sees the queue."""
        context = self.browser.new_context(viewport={"width": 1280, "height": 860}, **how)
        context.set_default_timeout(8000)
        self.contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        page.on("console", self._heard)
        page.goto(f"{self.web.base}/sign-in" if token else self.web.url)
        if token:
            page.fill("#token", token)
            page.click("text=Sign in >> nth=-1")
        elif not how.get("java_script_enabled", True):
            page.click("text=Start reviewing")
        page.wait_for_selector("#main .focus", timeout=FIRST_MS)
        return page

    def _heard(self, message: Any) -> None:
        # A server that was killed is in the console too; a broken policy or script must not be.
        if message.type == "error" and "Failed to load resource" not in message.text and "ERR_" not in message.text:
            self.wrong.append(message.text)

    def close(self) -> None:
        for context in self.contexts:
            context.close()
        self.web.stop()
        self.database.close()
        assert not self.wrong, self.wrong


Seat = Callable[..., Sitting]


@pytest.fixture
def seat(browser: Browser, tmp_path: Path) -> Iterator[Seat]:
    """Makes a sitting over texts; `options` go to `inkmill web`."""
    made: list[Sitting] = []

    def make(pieces: Sequence[Piece], *, samples: int = 1, options: Sequence[str] = ("--as", "mara")) -> Sitting:
        database = open_database(f"sqlite:///{tmp_path / 'inkmill.db'}")
        outputs = stock(database, pieces, samples=samples)
        web = Web(tmp_path, options=options)
        web.start()
        made.append(Sitting(browser, web, database, outputs))
        return made[-1]

    yield make
    for sitting in made:
        sitting.close()
