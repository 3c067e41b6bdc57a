"""A person at the review page: `inkmill web`, signed in to as a browser would, and what is sent from there."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import HTTPCookieProcessor, Request, build_opener

from bench.chaos.stack import INKMILL, Stack

ANSWER_SECONDS = 60


class Reviewer:
    """Somebody who is signed in."""

    def __init__(self, url: str) -> None:
        """
        Args:
            url: what `inkmill web` printed, with its token.
        """
        parts = urlsplit(url)
        self._base = f"{parts.scheme}://{parts.netloc}"
        self._opener = build_opener(HTTPCookieProcessor(CookieJar()))
        self._ask("/sign-in", {"token": parse_qs(parts.query)["token"][0]}, accept="text/html")
        self._csrf = json.loads(self._ask("/session")[1])["csrf"]

    def send(self, path: str, **fields: Any) -> int:
        """The status that a form was answered with."""
        return self._ask(path, fields | {"csrf": self._csrf})[0]

    def _ask(
        self, path: str, fields: dict[str, Any] | None = None, accept: str = "application/json"
    ) -> tuple[int, str]:
        data = None if fields is None else urlencode(fields).encode()
        request = Request(self._base + path, data=data, headers={"Accept": accept})
        try:
            with self._opener.open(request, timeout=ANSWER_SECONDS) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()


@contextmanager
def signed_in_reviewer(stack: Stack) -> Iterator[Reviewer]:
    """A page of this stack, and a reviewer at it."""
    with (stack.folder / "logs" / "web.log").open("wb") as log:
        page = subprocess.Popen(
            [*INKMILL, "web", "--port", "0", "--as", "anna"], env=stack.env, cwd=stack.folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
    try:
        assert page.stdout is not None
        yield Reviewer(page.stdout.readline().decode().strip())
    finally:
        page.terminate()
        page.wait()
