"""`inkmill web` as a process: what it prints, what it refuses, how it ends, what it keeps to itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

INKMILL = [sys.executable, "-m", "inkmill"]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    made: list[subprocess.Popen[str]] = []
    yield made
    for process in made:
        if process.poll() is None:
            process.kill()
            process.wait(10)


def environment(home: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("INKMILL_")}
    return clean | {"INKMILL_HOME": str(home)}


def refused(home: Path, *words: str) -> tuple[int, str]:
    """What `inkmill web` ends with where it cannot start, and what it says."""
    done = subprocess.run([*INKMILL, "web", *words], env=environment(home), capture_output=True, text=True, timeout=60)
    assert done.stdout == ""
    return done.returncode, done.stderr


def start(home: Path, made: list[subprocess.Popen[str]], *words: str) -> tuple[subprocess.Popen[str], str]:
    """A running server and the first line it printed."""
    process = subprocess.Popen(
        [*INKMILL, "web", "--port", "0", *words], env=environment(home),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    made.append(process)
    assert process.stdout is not None and process.stderr is not None
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return process, line.strip()


def ask(url: str, path: str | None = None) -> tuple[int, str]:
    host, _, rest = url.removeprefix("http://").partition("/")
    connection = HTTPConnection(host, timeout=20)
    connection.request("GET", path or f"/{rest}")
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_it_prints_its_address_once_and_ends_when_told(
    tmp_path: Path, started: list[subprocess.Popen[str]], sign: signal.Signals, code: int
) -> None:
    process, url = start(tmp_path, started, "--as", "mara")
    assert url.startswith("http://127.0.0.1:") and "/sign-in?token=" in url
    assert ask(url)[0] == 200
    assert ask(url, "/queue")[0] == 401
    process.send_signal(sign)
    rest, said = process.communicate(timeout=20)
    assert process.returncode == code
    assert rest == ""
    token = url.partition("token=")[2]
    assert token not in said and "/queue" not in said, "the log keeps tokens and addresses to itself"
    assert said.strip() == "open it in a browser; Ctrl-C stops it"


def test_an_open_stream_does_not_keep_it_from_ending(tmp_path: Path, started: list[subprocess.Popen[str]]) -> None:
    process, url = start(tmp_path, started)
    host = url.removeprefix("http://").partition("/")[0]
    connection = HTTPConnection(host, timeout=20)
    body = f"token={url.partition('token=')[2]}"
    connection.request("POST", "/sign-in", body, {"content-type": "application/x-www-form-urlencoded"})
    answer = connection.getresponse()
    answer.read()
    cookie = (answer.getheader("set-cookie") or "").partition(";")[0]
    connection.request("GET", "/progress/events", headers={"cookie": cookie})
    stream = connection.getresponse()
    assert stream.getheader("content-type", "").startswith("text/event-stream")
    assert stream.readline() == b"event: progress\n"
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert process.returncode == 0
    assert "Traceback" not in said and "Cancel" not in said


def test_json_says_where_it_is(tmp_path: Path, started: list[subprocess.Popen[str]]) -> None:
    process, _ = start(tmp_path, started, "--json", "--as", "mara")
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    said = json.loads("{" + process.stdout.read())
    assert said["reviewers"] == ["mara"] and said["host"] == "127.0.0.1"
    assert said["url"].startswith(f"http://127.0.0.1:{said['port']}/sign-in?token=")


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = refused(tmp_path, "--port", str(port))
    assert code == 1
    assert f"port {port} on 127.0.0.1 is in use" in said and "--port" in said


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "review.example"])
def test_any_other_address_needs_a_token_file(tmp_path: Path, host: str) -> None:
    code, said = refused(tmp_path, "--host", host, "--port", "0")
    assert code == 2
    assert "--token-file" in said


def test_a_token_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("mara mara-has-a-long-token\n")
    tokens.chmod(0o640)
    code, said = refused(tmp_path, "--host", "0.0.0.0", "--port", "0", "--token-file", str(tokens))
    assert code == 2
    assert f"chmod 600 {tokens}" in said


def test_a_token_file_opens_it_to_others_and_no_token_is_printed(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("mara mara-has-a-long-token\n")
    tokens.chmod(0o600)
    process, url = start(tmp_path, started, "--host", "0.0.0.0", "--token-file", str(tokens))
    port = url.partition("/sign-in")[0].rpartition(":")[2]
    assert "token=" not in url
    assert ask(f"http://127.0.0.1:{port}/sign-in")[0] == 200
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert "unencrypted" in said and "long-token" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--as", " "), "reviewer's name"),
        (("--audit-share", "1"), "less than 1"),
        (("--as", "mara", "--token-file", "x"), "leave out --as"),
        (("--host", "no such host", "--token-file", "TOKENS"), "not an address of this computer"),
    ],
)
def test_options_that_do_not_go_together_say_why(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("mara mara-has-a-long-token\n")
    tokens.chmod(0o600)
    code, found = refused(tmp_path, "--port", "0", *(str(tokens) if word == "TOKENS" else word for word in words))
    assert code == 2
    assert said in found


def test_the_page_loads_neither_torch_nor_celery() -> None:
    probe = "import sys, review.server; print([name for name in ('torch', 'celery') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
