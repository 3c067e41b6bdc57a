"""Which Redis a worker agrees to serve."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from contract.errors import UsageError
from contract.settings import load_settings
from inkmill.commands.serving import refuse_open_redis


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "redis://[::1]:6379/0",
        "redis://localhost/0",
        "redis:///0",
        "redis+socket:///run/redis.sock",
        "redis://:secret@redis.example:6379/0",
        "rediss://user:secret@redis.example:6379/0",
    ],
)
def test_a_redis_here_or_with_a_password_is_served(url: str) -> None:
    refuse_open_redis(load_settings(redis_url=url).redis_url, insecure=False)


@pytest.mark.parametrize(
    "url",
    [
        "redis://redis.example:6379/0",
        "rediss://redis.example/0",
        "redis://user@redis.example/0",
        "redis://:@redis.example/0",
        "redis://localhost@redis.example/0",
        "redis://localhost.example/0",
        "redis://0.0.0.0:6379/0",
        "redis://192.168.1.7/0",
    ],
)
def test_a_redis_elsewhere_without_a_password_is_refused_until_insecure_is_said(url: str) -> None:
    with pytest.raises(UsageError, match=r"has no password, so anyone .* or use --insecure"):
        refuse_open_redis(load_settings(redis_url=url).redis_url, insecure=False)
    refuse_open_redis(url, insecure=True)


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1/notanumber",
        "redis://127.0.0.1/0?password=hunter2",
        "redis://127.0.0.1/0?socket_timeout=hunter2",
        "rediss://127.0.0.1/0?ssl_cert_reqs=hunter2",
        "redis://:hunter2@[::1/0",
        "redis:redis.example",
        "http://127.0.0.1/0",
        "sentinel://:hunter2@127.0.0.1/0",
        "redis://127.0.0.1/0;redis://:hunter2@x",
    ],
)
def test_what_is_no_address_of_one_redis_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(UsageError, match=r"INKMILL_REDIS_URL: .*is not a Redis URL") as refused:
        load_settings(redis_url=url)
    assert "hunter2" not in str(refused.value)


def test_the_worker_command_refuses_an_open_redis_before_it_touches_anything(tmp_path: Path) -> None:
    env = os.environ | {"INKMILL_HOME": str(tmp_path / "home"), "INKMILL_REDIS_URL": "redis://192.0.2.1:6379/0"}
    words = [sys.executable, "-m", "inkmill", "worker", "--model", "demo"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "the Redis on 192.0.2.1 has no password" in done.stderr
    assert not (tmp_path / "home").exists()
