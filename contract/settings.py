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
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from common.addresses import read_database_url, read_redis_url, redis_socket_url, sqlite_url, with_absolute_path
from common.private_files import UnreadableFile, is_secret, make_secret, read_secret
from contract.errors import UsageError
from contract.policy import ScoreBy, read_score_by
from contract.setting_names import PREFIX, check_keys, check_variables

PASSWORD_BYTES = 24
SURROGATE = re.compile(r"[\ud800-\udfff]")
"""What stands for bytes that are not text."""
UNIX_PATH_LIMIT = 100
"""sockaddr_un holds 108 bytes; some are left for Redis' own temporary names."""


def named_home(name: str) -> Path:
    """The home of that name; an empty one would be the working folder, and means the default.

    A line end, which a name from a file or a secret may have, belongs to the name only if there is such a folder.

    Raises:
        RuntimeError: ~NAME, and there is no such user.
    """
    if not name.strip():
        return default_home()
    home = Path(name).expanduser()
    return (home if home.is_dir() else Path(name.rstrip("\r\n")).expanduser()).absolute()


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

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", hide_input_in_errors=True)

    home: Path = Field(default_factory=default_home)
    database_url: str = ""
    redis_url: str = ""
    models: Path | None = None  # where models of one's own lie; None = in the home
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
    score_by: str = ScoreBy.WINDOW.value
    device: str = "auto"
    dtype: str = "auto"

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, url: str) -> str:
        return read_redis_url(url.strip()) if url.strip() else ""

    @field_validator("database_url")
    @classmethod
    def _anchored(cls, url: str) -> str:
        url = with_absolute_path(url.strip(), Path())
        if url:
            read_database_url(url)
        return url

    @field_validator("home", "models", mode="before")
    @classmethod
    def _absolute(cls, folder: Any, info: ValidationInfo) -> Path | None:
        if "\0" in str(folder) or SURROGATE.search(str(folder)):
            raise ValueError("is not UTF-8 text, which no database could store; choose another folder")
        if info.field_name == "models" and not str(folder or "").strip():
            return None
        try:
            return named_home(str(folder))
        except RuntimeError:
            raise ValueError(f"{folder}: there is no such user") from None

    @field_validator("model", "safety", "device", "dtype")
    @classmethod
    def _said(cls, value: str, info: ValidationInfo) -> str:
        if not value.strip():
            default = cls.model_fields[info.field_name or ""].default
            raise ValueError(f"is empty; unset it for the default, {default}, or name one")
        return value

    @field_validator("score_by")
    @classmethod
    def _known(cls, value: str) -> str:
        return read_score_by(value).value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        named = os.environ.get("INKMILL_HOME", "")
        with suppress(RuntimeError):  # of an unknown user; the home itself is refused with a reason
            named = str(named_home(named))
        home = Path(named).absolute()
        files = [home / "inkmill.toml", Path("inkmill.toml")]  # the later one wins
        return init_settings, env_settings, _Toml(settings_cls, toml_file=files)

    @property
    def embedded(self) -> bool:
        """Whether Redis is the one that the local stack starts."""
        return not self.redis_url

    @property
    def sql_url(self) -> str:
        """The database's SQLAlchemy URL."""
        url = self.database_url or sqlite_url(self.home / "inkmill.db")
        for plain in ("postgresql://", "postgres://"):
            if url.startswith(plain):
                return "postgresql+psycopg://" + url.removeprefix(plain)
        return url

    @property
    def sql_address(self) -> str:
        """The database for people: without its user, its password and the driver's parameters."""
        return read_database_url(self.sql_url).shown

    @property
    def models_folder(self) -> Path:
        """The folder of models of one's own."""
        return self.models or self.home / "models"

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
        return redis_socket_url(self.redis_socket, self.redis_password) if self.embedded else self.redis_url


class _Toml(TomlConfigSettingsSource):
    """The settings files. A relative path in one, to a database or to models, is relative to that file's folder."""

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        try:
            values = super()._read_file(file_path)
        except (ValueError, OSError) as error:
            kind = "is not written in TOML" if isinstance(error, ValueError) else "cannot be read"
            raise UsageError(f'{file_path}: {kind}: {error}; a line looks like this: model = "gpt2"') from None
        check_keys(values, Settings.model_fields, Path(file_path))
        url = values.get("database_url")
        if isinstance(url, str):
            values["database_url"] = with_absolute_path(url, Path(file_path).parent)
        if isinstance(models := values.get("models"), str) and models.strip():
            values["models"] = Path(file_path).parent / os.path.expanduser(models)
        return values


def load_settings(**overrides: Any) -> Settings:
    """The settings as they stand now.

    Raises:
        UsageError: naming the variable or key that cannot be used.
    """
    check_variables(os.environ, Settings.model_fields)
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        problems = "; ".join(
            _told(name := str(problem["loc"][0]), problem.get("ctx", {}), said_here=name in overrides)
            for problem in error.errors()
        )
        raise UsageError(f"invalid settings: {problems}") from None


def _told(name: str, context: dict[str, Any], *, said_here: bool) -> str:
    """What is wrong with a setting, in words of ours.

    Args:
        said_here: by the program, neither by a variable nor by a file.
    """
    field, cause = Settings.model_fields[name], context.get("error")
    if isinstance(cause, ValueError):
        reason = str(cause)
    elif field.annotation in (int, float):
        limits = {key: getattr(limit, key) for limit in field.metadata for key in ("ge", "le") if hasattr(limit, key)}
        kind = "a whole number" if field.annotation is int else "a number"
        reason = f"has to be {kind} from {limits['ge']:.10g} to {limits['le']:.10g}"
    else:
        reason = "has to be a text in quotes"
    variable = f"{PREFIX}{name.upper()}"
    in_a_file = not said_here and variable not in map(str.upper, os.environ)
    return f"{variable}{f' ({name} in inkmill.toml)' if in_a_file else ''}: {reason}"


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once."""
    return load_settings()


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
