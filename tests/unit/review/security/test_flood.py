"""What strangers send to a real server through real sockets, and that reviewers hardly notice."""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest

from review.security.body import REVIEWERS, STRANGERS
from review.security.connection import MOST_STRANGERS
from review.security.form import MOST_FIELDS
from review.server import AcceptErrorFilter

STRANGER_SECONDS = 3.0
MOST_FILES = 128
"""Less than a crowd's connections."""
STARTED = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({MOST_FILES}, {MOST_FILES}))
import runpy
import review.security.connection
review.security.connection.STRANGER_SECONDS = {STRANGER_SECONDS}
runpy.run_module("inkmill", run_name="__main__")
"""
FORM = {"content-type": "application/x-www-form-urlencoded"}
REFUSED = b"HTTP/1.1 413"
BUSY_SECONDS = 2.0
"""What a reviewer may wait for a page while others do their worst, on two cores that tests share."""


@dataclass
class Server:
    """`inkmill web` as a process, and one reviewer who is in."""

    port: int
    cookie: str = ""

    def open(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def ask(self, path: str, method: str = "GET", body: bytes = b"", cookie: str = "") -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body or None, (FORM if body else {}) | {"cookie": cookie})
            answer = connection.getresponse()
            self.cookie = self.cookie or (answer.getheader("set-cookie") or "").partition(";")[0]
            return answer.status, answer.read()
        finally:
            connection.close()

    def page(self) -> float:
        """How long a reviewer waits for a page, over a new connection."""
        began = time.monotonic()
        assert self.ask("/help", cookie=self.cookie)[0] == 200
        return time.monotonic() - began

    def csrf(self) -> bytes:
        return re.findall(rb'name="csrf" content="([^"]+)"', self.ask("/help", cookie=self.cookie)[1])[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("INKMILL_")}
    process = subprocess.Popen(
        [sys.executable, "-c", STARTED, "web", "--port", "0", "--as", "mara"], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=clean | {"INKMILL_HOME": str(home)}, cwd=Path(__file__).parents[4],
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    made = Server(int(line.partition("/sign-in")[0].rpartition(":")[2]))
    assert made.ask("/sign-in", "POST", f"token={line.partition('token=')[2]}".encode())[0] == 303
    yield made
    process.terminate()
    _, said = process.communicate(timeout=20)
    assert "Traceback" not in said and "rror" not in said, said


def head(method: str, path: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: 127.0.0.1", *lines, "", ""]).encode()


def answer_to(server: Server, sent: bytes) -> bytes:
    """What a stranger gets for some bytes until the server hangs up; nothing where it does so at once."""
    with server.open() as stranger:
        with suppress(ConnectionError):
            stranger.sendall(sent)
        return rest_of(stranger)


def rest_of(stranger: socket.socket) -> bytes:
    got = b""
    with suppress(ConnectionError):
        while part := stranger.recv(65536):
            got += part
    return got


def takes(stranger: socket.socket, sent: bytes) -> bool:
    """Whether a server that may have hung up still takes all of it."""
    try:
        stranger.sendall(sent)
    except ConnectionError:
        return False
    return True


def test_a_long_body_of_a_stranger_is_refused_before_it_is_parsed(server: Server) -> None:
    body = b"a&" * (2 * 2**20)
    began = time.monotonic()
    assert answer_to(server, head("POST", "/sign-in", f"content-length: {len(body)}") + body)[:12] in (b"", REFUSED)
    assert time.monotonic() - began < BUSY_SECONDS
    said = answer_to(server, head("POST", "/sign-in", f"content-length: {len(body)}"))
    assert said.startswith(REFUSED) and b"connection: close" in said.lower()


@pytest.mark.parametrize("chunk", [b"1\r\na\r\n", b"400\r\n" + b"&" * 1024 + b"\r\n"])
def test_a_body_that_says_no_length_is_cut_where_it_is_too_long(server: Server, chunk: bytes) -> None:
    sent = head("POST", "/sign-in", "transfer-encoding: chunked") + chunk * (STRANGERS.longest + 1)
    assert answer_to(server, sent).startswith(REFUSED)


@pytest.mark.parametrize("path", ["/decisions", "/static/page.css", "/sign-in"])
def test_posters_of_much_hold_no_reviewer_up(server: Server, path: str) -> None:
    body = b"a&" * (2 * 2**20)
    chunks = b"1\r\na\r\n" * 500_000
    floods = [
        head("POST", path, f"content-length: {len(body)}") + body,
        head("POST", path, "transfer-encoding: chunked") + chunks,
        head("GET", path, "cookie: a=\"" + '\\"' * 100_000 + '"'),
        head("GET", path + "?" + "a&" * 60_000),
        head("GET", path, *["a: b"] * 40_000),
    ]  # fmt: skip
    with ThreadPoolExecutor(8) as pool:
        busy = [pool.submit(answer_to, server, flood) for flood in floods * 4]
        waits = []
        while not all(flood.done() for flood in busy):
            waits.append(server.page())
    assert max(waits) < BUSY_SECONDS


def test_what_is_never_finished_is_dropped(server: Server) -> None:
    unfinished = [b"", b"GET /sign-in HT", head("POST", "/sign-in", "content-length: 20") + b"token=",
                  head("POST", "/sign-in", "transfer-encoding: chunked") + b"5\r\na"]  # fmt: skip
    began = time.monotonic()
    strangers = [server.open() for _ in unfinished]
    for stranger, sent in zip(strangers, unfinished, strict=True):
        stranger.sendall(sent)
    for stranger in strangers:
        assert rest_of(stranger) == b""
        stranger.close()
    assert STRANGER_SECONDS - 1 < time.monotonic() - began < STRANGER_SECONDS + BUSY_SECONDS


def test_a_byte_now_and_then_buys_no_more_time(server: Server) -> None:
    began = time.monotonic()
    with server.open() as stranger, suppress(ConnectionError):
        stranger.sendall(head("POST", "/sign-in", "content-length: 4000"))
        while time.monotonic() - began < 4 * STRANGER_SECONDS:
            stranger.sendall(b"a")
            time.sleep(0.2)
    assert time.monotonic() - began < STRANGER_SECONDS + BUSY_SECONDS


def test_who_asks_and_never_reads_is_dropped(server: Server) -> None:
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        stranger.settimeout(20)
        stranger.connect(("127.0.0.1", server.port))
        asked = head("GET", "/static/review.css") * 200
        stranger.sendall(asked)
        time.sleep(STRANGER_SECONDS + 1)
        assert not takes(stranger, asked * 1000)


def test_crowds_of_strangers_keep_no_reviewer_out_and_the_oldest_give_way(server: Server) -> None:
    with server.open() as mine:  # a connection that has shown whose it is
        mine.sendall(head("GET", "/progress/events", f"cookie: {server.cookie}"))
        assert mine.recv(15).startswith(b"HTTP/1.1 200")
        crowd = [server.open() for _ in range(2 * MOST_STRANGERS)]
        for number, stranger in enumerate(crowd):
            with suppress(ConnectionError):
                stranger.sendall((b"GET ", head("POST", "/sign-in", "content-length: 9") + b"t")[number % 2])
        assert max(server.page() for _ in range(5)) < BUSY_SECONDS
        crowd[0].settimeout(1)
        assert rest_of(crowd[0]) == b"", "the oldest was cut off at once"
        crowd[-1].settimeout(0.1)
        with pytest.raises(TimeoutError):
            crowd[-1].recv(1)
        mine.settimeout(0.5)
        with suppress(TimeoutError):
            assert mine.recv(2**20), "the reviewer's stream goes on"
        for stranger in crowd:
            stranger.close()


def test_a_reviewers_longest_text_is_taken_and_a_longer_one_is_heard_out(server: Server) -> None:
    csrf = server.csrf()
    text = b"%E9%9B%A8" * 200_000
    status, said = server.ask("/outputs/1/decisions", "POST", b"csrf=" + csrf + b"&action=edit&text=" + text,
                              server.cookie)  # fmt: skip
    assert (status, b"there is no output 1" in said) == (404, True)
    longer = b"csrf=" + csrf + b"&text=" + b"a" * (REVIEWERS.longest * 4)
    assert server.ask("/outputs/1/decisions", "POST", longer, server.cookie)[0] == 413


def test_a_reviewers_form_of_a_million_fields_is_refused_at_once(server: Server) -> None:
    csrf = server.csrf()
    began = time.monotonic()
    assert server.ask("/undo", "POST", b"csrf=" + csrf + b"&a" * 1_000_000, server.cookie)[0] == 400
    assert time.monotonic() - began < BUSY_SECONDS
    view = b"&view=" + b"a%26" * 1_000_000
    assert server.ask("/bulk/confirm", "POST", b"csrf=" + csrf + b"&action=approve" + view, server.cookie)[0] == 400
    ticked = b"".join(b"&output=%d.0" % number for number in range(1, MOST_FIELDS - 10))
    assert server.ask("/bulk/confirm", "POST", b"csrf=" + csrf + b"&action=approve" + ticked, server.cookie)[0] == 200


def test_what_cannot_be_accepted_is_said_now_and_then() -> None:
    said = logging.makeLogRecord({"msg": "socket.accept() out of system resource\nsocket: ..."})
    few = AcceptErrorFilter()
    assert [few.filter(said) for _ in range(3)] == [True, False, False]
    assert few.filter(logging.makeLogRecord({"msg": "something else"}))
