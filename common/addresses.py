"""The addresses of the database and of Redis: made of parts, read strictly, and shown without a secret.

Nothing of an address that cannot be read appears in an error: half of it may be a password. What the libraries would
read in two ways is refused, with the part to percent-encode.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

DATABASE_SCHEMES = ("sqlite", "sqlite+pysqlite", "postgresql", "postgres", "postgresql+psycopg")
DATABASE_FORMS = "use sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"
REDIS_FORMS = "use redis://:PASSWORD@HOST:6379/0, rediss://… or unix:///PATH"
ENCODE = "percent-encode user and password: @ is %40, / is %2F, ? is %3F, # is %23, : is %3A, ; is %3B, % is %25"
SOCKET_SCHEMES = ("redis+socket", "unix", "socket")
"""A Unix socket as Celery, redis-py and Celery's result backends spell it."""
CERTIFICATE_CHECKS = {
    word: short
    for short, words in {
        "required": ("required", "cert_required"),
        "optional": ("optional", "cert_optional"),
        "none": ("none", "cert_none"),
    }.items()
    for word in words
}
TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
TLS_PARAMETERS = ("ssl_cert_reqs", "ssl_check_hostname", *TLS_FILES)
DATABASE_NUMBER = ("db", "virtual_host")
"""How redis-py and kombu call the parameter with the number of the database."""
_DATABASE_URL = re.compile(
    r"(?P<scheme>[A-Za-z][\w+]*)://"
    r"(?:(?P<user>[^:/]*)(?::(?P<password>[^@]*))?@)?"
    r"(?P<host>\[[^/?]+\]|[^/:?]+)?(?::(?P<port>[^/?]*))?"
    r"(?:/(?P<path>[^?]*))?(?:\?(?P<query>.*))?",
    re.DOTALL,
)
"""The parts of a database's URL as SQLAlchemy tells them apart."""
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
_RELATIVE_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)(?!/|:memory:|file:)(.+)", re.DOTALL)


def sqlite_url(path: Path) -> str:
    """The URL of the SQLite database in that file, whatever characters its name has."""
    return f"sqlite:///{quote(str(path))}"


def redis_socket_url(path: Path, password: str) -> str:
    """What Celery calls the Redis behind that Unix socket."""
    return _redis_url("redis+socket", user="", password=password, host="", port=None, path=str(path), query={})


def with_absolute_path(url: str, folder: Path) -> str:
    """An SQLite URL whose path does not depend on the folder that a process works in; others as they are."""
    match = _RELATIVE_SQLITE.fullmatch(url)
    return f"{match[1]}{quote(str(folder.absolute()))}/{match[2]}" if match else url


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseAddress:
    """The parts of a database's URL, decoded."""

    scheme: str  # sqlite, postgresql
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    host: str = ""
    port: int | None = None
    path: str = ""  # of an SQLite file, or the database's name
    query: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict, repr=False)

    @property
    def sqlite(self) -> bool:
        return self.scheme == "sqlite"

    @property
    def shown(self) -> str:
        """The address for people: without user, password and parameters."""
        if self.sqlite:
            return self.path
        port = f":{self.port}" if self.port else ""
        return f"{self.scheme}://{_bracketed(self.host)}{port}/{self.path}"


def read_database_url(url: str) -> DatabaseAddress:
    """Takes a database's URL apart.

    Raises:
        ValueError: it cannot be read; the message quotes nothing of it.
    """
    match = _DATABASE_URL.fullmatch(url)
    if match is None or match["scheme"].lower() not in DATABASE_SCHEMES:
        raise ValueError(f"is not the URL of a database that Inkmill works on; {DATABASE_FORMS}")
    parts = match.groupdict(default="") | {"user": match["user"], "password": match["password"]}
    read = _sqlite_address if match["scheme"].lower().startswith("sqlite") else _server_address
    try:
        _refuse_unprintable(url)
        return read(parts)
    except ValueError as error:
        raise ValueError(f"is not a database URL: it {error}") from None


def _sqlite_address(parts: Mapping[str, str]) -> DatabaseAddress:
    if any(parts[name] for name in ("user", "password", "host", "port")):
        raise ValueError("has something before the path, but an SQLite database is a file; use sqlite:///PATH, with "
                         "three slashes")  # fmt: skip
    if parts["query"] and not re.fullmatch(r"timeout=[0-9.]+", parts["query"]):
        raise ValueError("has a ?, but the URL of an SQLite file takes no parameters; if it belongs to the path, "
                         "write it as %3F")  # fmt: skip
    return DatabaseAddress(scheme="sqlite", path=decoded_path(parts["path"]))


def _server_address(parts: Mapping[str, str]) -> DatabaseAddress:
    if any("@" in parts[name] for name in ("host", "port", "path", "query")):
        raise ValueError(f"has an @ too many; {ENCODE}")
    return DatabaseAddress(
        scheme="postgresql",
        user=_decoded(parts["user"]),
        password=_decoded(parts["password"]),
        host=unquote(parts["host"].removeprefix("[").removesuffix("]")),
        port=_port(parts["port"]),
        path=unquote(parts["path"]),
        query={name: values[0] if len(values) == 1 else values for name, values in _parameters(parts["query"]).items()},
    )


def decoded_path(path: str) -> str:
    """A path in a URL, decoded.

    Raises:
        ValueError: it was pasted as it is: there is such a folder, and none of the decoded name.
    """
    head, percent, tail = path.partition("%")
    pasted = Path(head + percent + tail.partition("/")[0])
    if percent and unquote(str(pasted)) != str(pasted) and pasted.exists() and not Path(unquote(str(pasted))).exists():
        raise ValueError("has a path with a % in it that is not percent-encoded; write each % of the path as %25")
    return unquote(path)


def read_redis_url(url: str) -> str:
    """The URL of Redis in the one spelling that kombu reads as we do; a certificate is checked unless it says not to.

    Raises:
        ValueError: it cannot be read; the message quotes nothing of it but the name of a parameter.
    """
    try:
        _refuse_unprintable(url)
        parts = urlsplit(url)
    except ValueError as error:
        raise ValueError(f"is not a Redis URL: it cannot be read; {ENCODE}; {REDIS_FORMS}") from error
    if parts.scheme not in ("redis", "rediss", *SOCKET_SCHEMES) or "://" not in url:
        raise ValueError(f"is not a Redis URL; {REDIS_FORMS}")
    try:
        return (_read_socket if parts.scheme in SOCKET_SCHEMES else _read_server)(parts)
    except ValueError as error:
        raise ValueError(f"is not a Redis URL: it {error}") from None


def _read_server(parts: SplitResult) -> str:
    if any("@" in part for part in (parts.path, parts.query, parts.fragment)):
        raise ValueError(f"has an @ after the host; {ENCODE}")
    user, password, parameters = _read_owner(parts)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError(f"has a port that is not a number from 1 to 65535; {ENCODE}")
    number = _database_number(parts.path.removeprefix("/"), parameters)
    query = _tls(parameters, rediss=parts.scheme == "rediss")
    host = parts.hostname or ""
    return _redis_url(parts.scheme, user=user, password=password, host=host, port=port, path=number, query=query)


def _read_socket(parts: SplitResult) -> str:
    if parts.netloc.rpartition("@")[2]:
        raise ValueError(f"has a host, which no socket has; use unix:///PATH, with three slashes, or {ENCODE}")
    user, password, parameters = _read_owner(parts)
    # redis-py takes user and password from parameters too.
    user, password = parameters.pop("username", user), parameters.pop("password", password)
    number = _database_number("", parameters)
    _refuse_unknown(parameters, (*DATABASE_NUMBER, "username", "password"))
    path = decoded_path(parts.path)
    if not path.startswith("/") or path.endswith("/"):
        raise ValueError("names no socket; use unix:///PATH, with three slashes")
    query = {"virtual_host": number} if number else {}
    return _redis_url("redis+socket", user=user, password=password, host="", port=None, path=path, query=query)


def _read_owner(parts: SplitResult) -> tuple[str, str, dict[str, str]]:
    """User and password, decoded, and the parameters."""
    if ";" in parts.geturl():  # what follows it would be another server to kombu
        raise ValueError(f"has a semicolon, but one server can be named; {ENCODE}")
    if parts.fragment:
        raise ValueError(f"has a #; {ENCODE}")
    parameters = _parameters(parts.query)
    if any(len(values) > 1 for values in parameters.values()):
        raise ValueError("has a parameter twice")
    single = {name: values[0] for name, values in parameters.items()}
    return unquote(parts.username or ""), unquote(parts.password or ""), single


def _database_number(path: str, parameters: dict[str, str]) -> str:
    said = {parameters.pop(name).removeprefix("/") for name in DATABASE_NUMBER if name in parameters}
    said |= {path} if path else set()
    if len(said) > 1 or not all(re.fullmatch("[0-9]{1,4}", number) for number in said):
        raise ValueError("has something after the host that is not the number of a database, such as /0; "
                         f"{ENCODE}")  # fmt: skip
    return next(iter(said), "")


def _tls(parameters: dict[str, str], *, rediss: bool) -> dict[str, str]:
    _refuse_unknown(parameters, (*TLS_PARAMETERS, *DATABASE_NUMBER))
    query = dict(parameters)
    if rediss or query:  # without it kombu would take any certificate
        check = CERTIFICATE_CHECKS.get(query.get("ssl_cert_reqs", "required").lower())
        if check is None:
            raise ValueError("has an ssl_cert_reqs that is not required, optional or none")
        query["ssl_cert_reqs"] = check
    if query.get("ssl_check_hostname", "true").lower() not in ("true", "false"):
        raise ValueError("has an ssl_check_hostname that is not true or false")
    if empty := next((name for name in TLS_FILES if query.get(name) == ""), None):
        raise ValueError(f"has an {empty} that names no file")
    return query


def _refuse_unknown(parameters: Mapping[str, str], known: tuple[str, ...]) -> None:
    if unknown := [name for name in parameters if name not in known]:
        named = f"the parameter {unknown[0]}" if re.fullmatch("[a-z_]+", unknown[0]) else "a parameter"
        raise ValueError(f"has {named}; there are {', '.join(known)}")


def missing_tls_file(url: str) -> str | None:
    """Which file that a Redis URL names for TLS is not there, as the end of a sentence; None if all are."""
    for name, (path, *_) in _parameters(urlsplit(url).query).items():
        if name in TLS_FILES and not Path(path).is_file():
            return f"{name} names {path}, and there is no such file"
    return None


def _redis_url(
    scheme: str, *, user: str, password: str, host: str, port: int | None, path: str, query: Mapping[str, str]
) -> str:
    owner = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""
    where = _bracketed(host) + (f":{port}" if port else "")
    rest = f"?{urlencode(query, quote_via=quote)}" if query else ""
    return f"{scheme}://{owner}{where}/{quote(path.removeprefix('/'))}{rest}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _parameters(query: str) -> dict[str, tuple[str, ...]]:
    """The values of each parameter, decoded."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise ValueError(f"has no NAME=VALUE&… after the ?; {ENCODE}") from None
    return {name: tuple(value for key, value in pairs if key == name) for name, _ in pairs}


def _decoded(part: str | None) -> str | None:
    return unquote(part) if part else part


def _port(port: str) -> int | None:
    if port and not re.fullmatch("[0-9]{1,5}", port):
        raise ValueError(f"has a port that is not a number; {ENCODE}")
    return int(port) if port else None


def _refuse_unprintable(url: str) -> None:
    if _UNPRINTABLE.search(url):
        raise ValueError(f"has a line break or another unprintable character; {ENCODE}")
