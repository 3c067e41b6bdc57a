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
"""What breaks a line of redis.conf, or stands for bytes that are no text."""
UNIX_PATH_LIMIT = 100
"""sockaddr_un holds 108 bytes; some are left for Redis' own temporary names."""


def default_home() -> Path:
    """The user's data folder, as the XDG base directory specification places it."""
    data = Path(os.environ.get("XDG_DATA_HOME") or ".")
    # A relative one is to be ignored, says that specification.
    return (data if data.is_absolute() else Path.home() / ".local" / "share") / "inkmill"


DAY = 86400.0
Seconds = Annotated[float, Field(allow_inf_nan=False)]


@contextmanager
def reporting_unreadable() -> Iterator[None]:
    """A private file that cannot be read is told as an error of the user's."""
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
        """An empty one is no home: it would be the working folder."""
        return home if str(home).strip() else default_home()

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        if UNPRINTABLE.search(str(home)):
            raise ValueError(
                "holds a line break or another character that no file of settings can; choose another folder"
            )
        try:
            return home.expanduser().absolute()
        except RuntimeError:
            raise ValueError(f"{home}: there is no user of that name here") from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        said = os.environ.get("INKMILL_HOME", "").strip()
        home = Path(os.path.expanduser(said) or default_home()).absolute()
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
        """The database for people: without its user, its password and whatever else the driver is told."""
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
        """The embedded Redis' password: drawn by whoever asks first, so that every process knows the same."""
        file = self.redis_folder / "password"
        with reporting_unreadable():
            known = read_secret(file, PASSWORD_BYTES)
            if known is None:
                private_folder(self.home)
                private_folder(self.redis_folder)
                known = make_secret(file, PASSWORD_BYTES, self._served_password())
            return known

    def _served_password(self) -> str | None:
        """What the server was last started with: one that runs still asks for it, whatever became of the file."""
        try:
            lines = (self.redis_folder / "redis.conf").read_text(errors="replace").splitlines()
        except OSError:
            return None
        served = (line.partition(" ")[2] for line in lines if line.startswith("requirepass "))
        return next((word for word in served if is_secret(word, PASSWORD_BYTES)), None)

    @property
    def installation(self) -> str:
        """What tells this home from every other one on the same database."""
        file = self.home / "installation"
        with reporting_unreadable():
            known = read_secret(file, PASSWORD_BYTES)
            return known or make_secret(private_folder(self.home) / file.name, PASSWORD_BYTES)

    @property
    def broker_url(self) -> str:
        """Redis as Celery is told of it."""
        if not self.embedded:
            return _with_certificate(self.redis_url)
        return f"redis+socket://:{self.redis_password}@{quote(str(self.redis_socket))}"


class _Toml(TomlConfigSettingsSource):
    """The files of settings. A database's file that one of them names lies where the file itself lies."""

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        said = super()._read_file(file_path)
        url = said.get("database_url")
        return (
            said | {"database_url": with_absolute_path(url, Path(file_path).parent)} if isinstance(url, str) else said
        )


def with_absolute_path(url: str, folder: Path) -> str:
    """An SQLite URL whose path does not depend on the folder that a process works in; others as they are."""
    found = RELATIVE_SQLITE.fullmatch(url)
    return f"{found[1]}{quote(str(folder.absolute()))}/{found[2]}" if found else url


def load_settings(**overrides: Any) -> Settings:
    """The settings as they stand now.

    Raises:
        UsageError: naming the variable or key that cannot be used.
    """
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        wrong = "; ".join(f"INKMILL_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors() if e["loc"])
        raise UsageError(f"settings cannot be used: {wrong or error}") from None
    except ValueError as error:  # a toml file that does not parse
        raise UsageError(f"inkmill.toml cannot be read: {error}") from None


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once."""
    return load_settings()


def _is_redis(url: str) -> bool:
    """Whether kombu would know what to do with it: what it does not know, it quotes in its errors."""
    try:
        parts = urlsplit(url)
        said = parse_qsl(parts.query, strict_parsing=bool(parts.query))
        known = all(re.fullmatch(REDIS_PARAMETERS[name], value) for name, value in said)
        named = parts.scheme == "redis+socket" or re.fullmatch(r"/?[0-9]{0,4}", parts.path)
        # kombu takes what follows a semicolon for one more server, which nobody would have looked at.
        plain = "://" in url and ";" not in url and parts.scheme in REDIS_SCHEMES and parts.port != 0
    except (ValueError, LookupError):
        return False
    return bool(plain and named and known)


def _with_certificate(url: str) -> str:
    """kombu asks for no certificate, and so anyone could answer, unless the URL says that it shall."""
    parts = urlsplit(url)
    if parts.scheme != "rediss" or "ssl_cert_reqs" in parts.query:
        return url
    said = [part for part in (parts.query, "ssl_cert_reqs=required") if part]
    return urlunsplit(parts._replace(query="&".join(said)))


def private_folder(path: Path) -> Path:
    """`path` as a folder that only its owner can enter, made where it is missing, as are those above it."""
    # Path.mkdir would make those above it as the umask says, and who may write there could put another folder here.
    for missing in [folder for folder in (path, *path.parents) if not folder.exists()][::-1]:
        missing.mkdir(mode=0o700, exist_ok=True)
    return path


def verified_private_folder(path: Path) -> Path:
    """`path` as a private folder, even where others may write around it, as in /tmp.

    Raises:
        UsageError: it is somebody else's, or open to others.
    """
    found = private_folder(path).lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise UsageError(f"{path}: is not private to you; remove it, or choose an INKMILL_HOME with a shorter path")
    return path


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read; it appears whole or not at all."""
    part = path.with_name(path.name + ".part")
    with os.fdopen(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    part.replace(path)
