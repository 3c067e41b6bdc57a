"""Where this installation keeps its things: one typed object, read once a process.

Values come from INKMILL_* variables, then inkmill.toml in the working folder or in the home, then defaults.
Flags of a command are laid over it by the command.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from common.private_files import UnreadableFile, is_secret, make_secret, read_secret
from contract.errors import UsageError

REDIS_SCHEMES = ("redis", "rediss", "redis+socket")
REDIS_PARAMETERS = {
    "ssl_cert_reqs": "required|optional|none",
    "ssl_ca_certs": ".+",
    "ssl_certfile": ".+",
    "ssl_keyfile": ".+",
    "virtual_host": "/?[0-9]{1,4}",  # the number of the database behind a socket
}
"""What may follow the question mark of a Redis URL."""
PASSWORD_BYTES = 24
RELATIVE_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)(?!/|:memory:|file:)(.+)", re.DOTALL)
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""What breaks a line of redis.conf, or stands for bytes that are not text."""
UNIX_PATH_LIMIT = 100
"""sockaddr_un holds 108 bytes; some are left for Redis' own temporary names."""


def default_home() -> Path:
    """The user's data folder, as the XDG base directory specification places it."""
    data = Path(os.environ.get("XDG_DATA_HOME") or ".")
    # The specification says to ignore a relative one.
    return (data if data.is_absolute() else Path.home() / ".local" / "share") / "inkmill"


DAY = 86400.0
Seconds = Annotated[float, Field(allow_inf_nan=False)]


@contextmanager
def reporting_unreadable() -> Iterator[None]:
    """Reports a private file that cannot be read as a user's error."""
    try:
        yield
    except UnreadableFile as error:
        raise UsageError(str(error)) from None


class Settings(BaseSettings):
    """This installation."""

    model_config = SettingsConfigDict(env_prefix="INKMILL_", extra="ignore")

    home: Path = Field(default_factory=default_home)
    database_url: str = ""
    redis_url: str = ""
    lease_seconds: Seconds = Field(default=60.0, ge=1, le=3600)
    sweep_seconds: Seconds = Field(default=5.0, ge=0.01, le=60)
    step_seconds: Seconds = Field(default=60.0, ge=1, le=DAY)  # one engine or scorer step longer than this is a hang
    idle_seconds: Seconds = Field(default=60.0, ge=0, le=366 * DAY)  # a stack of `run`'s, without work
    grace_seconds: Seconds = Field(default=30.0, ge=1, le=DAY)  # what a worker gets between SIGTERM and SIGKILL
    service_seconds: Seconds = Field(default=10.0, ge=1, le=3600)  # how long a silent Redis or database is waited for
    nice: int = Field(default=5, ge=0, le=10)  # how far workers leave the cores to others, as nice(1) counts
    # Defaults of the common options.
    model: str = "gpt2"
    safety: str = "original"
    device: str = "auto"
    dtype: str = "auto"

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, url: str) -> str:
        if url and not _is_redis(url):
            raise ValueError("is not a Redis URL; use redis://:PASSWORD@HOST:6379/0 or rediss://…")
        return url

    @field_validator("database_url")
    @classmethod
    def _anchored(cls, url: str) -> str:
        return with_absolute_path(url, Path())

    @field_validator("home", mode="before")
    @classmethod
    def _named(cls, home: Any) -> Any:
        """An empty one would be the working folder."""
        return home if str(home).strip() else default_home()

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        if UNPRINTABLE.search(str(home)):
            raise ValueError("contains a line break or another unprintable character; choose another folder")
        try:
            return home.expanduser().absolute()
        except RuntimeError:
            raise ValueError(f"{home}: there is no such user") from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        named = os.environ.get("INKMILL_HOME", "").strip()
        home = Path(os.path.expanduser(named) or default_home()).absolute()
        files = [home / "inkmill.toml", Path("inkmill.toml")]  # the later one wins
        return init_settings, env_settings, _Toml(settings_cls, toml_file=files)

    @property
    def embedded(self) -> bool:
        """Whether Redis is the one that the local stack starts."""
        return not self.redis_url

    @property
    def sql_url(self) -> str:
        """The database's SQLAlchemy URL."""
        url = self.database_url or f"sqlite:///{quote(str(self.home / 'inkmill.db'))}"
        for plain in ("postgresql://", "postgres://"):
            if url.startswith(plain):
                return "postgresql+psycopg://" + url.removeprefix(plain)
        return url

    @property
    def sql_address(self) -> str:
        """The database for people: without its user, its password and the driver's parameters."""
        kind, _, rest = self.sql_url.partition("://")
        rest = rest.partition("?")[0]
        if kind.startswith("sqlite"):
            return unquote(rest.removeprefix("/"))
        return f"{kind.partition('+')[0]}://{rest.rpartition('@')[2]}"

    @property
    def redis_folder(self) -> Path:
        return self.home / "redis"

    @property
    def redis_socket(self) -> Path:
        """The embedded Redis' Unix socket: in the home, or in a short private folder where that path is too long."""
        socket = self.redis_folder / "redis.sock"
        if len(os.fsencode(socket)) <= UNIX_PATH_LIMIT:
            return socket
        short = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"inkmill-{os.getuid()}-{short}" / "redis.sock"

    @property
    def redis_password(self) -> str:
        """The embedded Redis' password: drawn when first asked for, the same for every process."""
        file = self.redis_folder / "password"
        with reporting_unreadable():
            known = read_secret(file, PASSWORD_BYTES)
            if known is None:
                private_folder(self.home)
                private_folder(self.redis_folder)
                known = make_secret(file, PASSWORD_BYTES, self._served_password())
            return known

    def _served_password(self) -> str | None:
        """The password in the server's configuration: one that runs still asks for it, whatever became of the file."""
        try:
            lines = (self.redis_folder / "redis.conf").read_text(errors="replace").splitlines()
        except OSError:
            return None
        served = (line.partition(" ")[2] for line in lines if line.startswith("requirepass "))
        return next((word for word in served if is_secret(word, PASSWORD_BYTES)), None)

    @property
    def installation(self) -> str:
        """Tells this home from every other one on the same database."""
        file = self.home / "installation"
        with reporting_unreadable():
            known = read_secret(file, PASSWORD_BYTES)
            return known or make_secret(private_folder(self.home) / file.name, PASSWORD_BYTES)

    @property
    def broker_url(self) -> str:
        """The URL of Redis that Celery gets."""
        if not self.embedded:
            return _with_certificate(self.redis_url)
        return f"redis+socket://:{self.redis_password}@{quote(str(self.redis_socket))}"


class _Toml(TomlConfigSettingsSource):
    """The settings files. A relative path to a database in one is relative to that file's folder."""

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        values = super()._read_file(file_path)
        url = values.get("database_url")
        if isinstance(url, str):
            values["database_url"] = with_absolute_path(url, Path(file_path).parent)
        return values


def with_absolute_path(url: str, folder: Path) -> str:
    """An SQLite URL whose path does not depend on the folder that a process works in; others as they are."""
    match = RELATIVE_SQLITE.fullmatch(url)
    return f"{match[1]}{quote(str(folder.absolute()))}/{match[2]}" if match else url


def load_settings(**overrides: Any) -> Settings:
    """The settings as they stand now.

    Raises:
        UsageError: naming the variable or key that cannot be used.
    """
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        problems = "; ".join(f"INKMILL_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors() if e["loc"])
        raise UsageError(f"invalid settings: {problems or error}") from None
    except ValueError as error:  # a toml file that does not parse
        raise UsageError(f"inkmill.toml cannot be read: {error}") from None


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once."""
    return load_settings()


def _is_redis(url: str) -> bool:
    """Whether kombu understands the URL: it quotes what it does not understand in its errors."""
    try:
        parts = urlsplit(url)
        parameters = parse_qsl(parts.query, strict_parsing=bool(parts.query))
        known_parameters = all(re.fullmatch(REDIS_PARAMETERS[name], value) for name, value in parameters)
        valid_path = parts.scheme == "redis+socket" or re.fullmatch(r"/?[0-9]{0,4}", parts.path)
        # kombu takes what follows a semicolon for another server, which nothing here would have checked.
        one_server = "://" in url and ";" not in url and parts.scheme in REDIS_SCHEMES and parts.port != 0
    except (ValueError, LookupError):
        return False
    return bool(one_server and valid_path and known_parameters)


def _with_certificate(url: str) -> str:
    """kombu requires a certificate, without which anyone could answer, only if the URL says so."""
    parts = urlsplit(url)
    if parts.scheme != "rediss" or "ssl_cert_reqs" in parts.query:
        return url
    query = [part for part in (parts.query, "ssl_cert_reqs=required") if part]
    return urlunsplit(parts._replace(query="&".join(query)))


def private_folder(path: Path) -> Path:
    """`path` as a folder that only its owner can enter, made where it is missing, as are those above it."""
    # Path.mkdir would leave the folders above to the umask, and whoever may write there could swap this one.
    for missing in [folder for folder in (path, *path.parents) if not folder.exists()][::-1]:
        missing.mkdir(mode=0o700, exist_ok=True)
    return path


def verified_private_folder(path: Path) -> Path:
    """`path` as a private folder, even where others may write around it, as in /tmp.

    Raises:
        UsageError: it is somebody else's, or open to others.
    """
    status = private_folder(path).lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise UsageError(f"{path}: is not private to you; remove it, or choose an INKMILL_HOME with a shorter path")
    return path


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read; it appears whole or not at all."""
    part = path.with_name(path.name + ".part")
    with os.fdopen(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    part.replace(path)
