"""Addresses: what the libraries read of those that we make, and what is said of those that cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu import Connection
from kombu.utils.url import url_to_parts
from sqlalchemy import make_url

from common.addresses import read_database_url, read_redis_url, redis_socket_url, sqlite_url
from contract.errors import UsageError
from contract.settings import Settings
from db.session.engine import _read_url

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..")
)


@given(NAMES)
def test_the_database_of_any_folder_is_read_back_as_that_file(name: str) -> None:
    path = Path("/somewhere") / name / "inkmill.db"
    assert read_database_url(sqlite_url(path)).path == str(path)
    assert make_url(sqlite_url(path)).database == _read_url(sqlite_url(path)).database == str(path)


@given(NAMES, st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_the_socket_of_any_folder_is_read_back_as_that_file(name: str, password: str) -> None:
    path = Path("/somewhere") / name / "redis.sock"
    parts = url_to_parts(redis_socket_url(path, password))  # as kombu's transport does
    assert (f"/{parts.path}", parts.password) == (str(path), password)


@pytest.mark.parametrize(
    ("name", "path", "pasted"),
    [
        ("a%20b", "sqlite:////FOLDER/a%20b/x.db", True),
        ("a%2Fb.db", "sqlite:////FOLDER/a%2Fb.db", True),
        ("a b", "sqlite:////FOLDER/a%20b/x.db", False),
        ("100%", "sqlite:////FOLDER/100%/x.db", False),
        ("a%20b", "sqlite:////FOLDER/a%2520b/x.db", False),
        ("c", "sqlite:////FOLDER/a%20b/x.db", False),
    ],
)
def test_a_path_that_was_pasted_into_a_url_is_refused_where_another_file_would_be_meant(
    tmp_path: Path, name: str, path: str, pasted: bool
) -> None:
    (tmp_path / name).mkdir()
    for form in (path, path.replace("sqlite:///", "unix://")):
        url = form.replace("/FOLDER", str(tmp_path))
        read: Any = read_redis_url if url.startswith("unix") else read_database_url
        if pasted:
            with pytest.raises(ValueError, match="write each % of the path as %25"):
                read(url)
        else:
            read(url)


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("postgresql://u:hunter@2x@h/d", "@ is %40"),
        ("postgresql://u:hunter@2x:y@h:5432/d", "@ is %40"),
        ("postgresql://u:hunter@2/x@h/d", "@ is %40"),
        ("postgresql://u:hunter@2?x@h/d", "@ is %40"),
        ("postgresql://u:hunter2@h:54x/d", "port"),
        ("postgresql://u:hunter2", "port"),
        ("postgresql://u:hunter2@h/d?hunter2", "NAME=VALUE"),
        ("postgresql:/u:hunter2@h/d", "use sqlite:///PATH"),
        ("u:hunter2@h/d", "use sqlite:///PATH"),
        ("hunter2://h/d", "use sqlite:///PATH"),
        ("mysql://u:hunter2@h/d", "use sqlite:///PATH"),
        ("postgresql+asyncpg://u:hunter2@h/d", "use sqlite:///PATH"),
        ("postgresql://u:hunter2\nx@h/d", "line break"),
        ("sqlite://u:hunter2@h/d", "three slashes"),
        ("sqlite:////a/b?hunter2.db", "%3F"),
    ],
)
def test_of_a_database_url_that_cannot_be_read_nothing_is_shown(url: str, part: str) -> None:
    with pytest.raises(ValueError, match="is not ") as refused:
        read_database_url(url)
    assert part in str(refused.value) and "hunter2" not in str(refused.value)
    assert not any(word in str(refused.value) for word in ("hunter", "2x", "@h", "asyncpg", "mysql"))


@pytest.mark.parametrize("password", ["p/ss", "p?ss", "p#ss", "p:ss", "p;ss", "p%ss", "p[ss]", "p ss", "p%40ss"])
def test_a_password_that_can_be_read_is_read_as_sqlalchemy_does_and_not_shown(password: str) -> None:
    url = f"postgresql://me:{password}@db:5432/ink"
    config = Settings(database_url=url)
    assert config.sql_address == "postgresql://db:5432/ink"
    assert _read_url(config.sql_url) == make_url(url).set(drivername="postgresql+psycopg")


def test_the_folder_of_a_servers_socket_may_stand_for_its_host() -> None:
    url = _read_url("postgresql://me@%2Fvar%2Frun%2Fpg/ink")
    assert (url.host, url.query["host"], url.database) == (None, "/var/run/pg", "ink")


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("rediss://h/0?ssl_cert_reqs=CERT_REQUIRED", "rediss://h/0?ssl_cert_reqs=required"),
        ("rediss://h/0?ssl_cert_reqs=required", "rediss://h/0?ssl_cert_reqs=required"),
        ("rediss://h/0?ssl_cert_reqs=CERT_OPTIONAL", "rediss://h/0?ssl_cert_reqs=optional"),
        ("rediss://h/0?ssl_cert_reqs=CERT_NONE", "rediss://h/0?ssl_cert_reqs=none"),
        ("rediss://h/0?ssl_cert_reqs=none", "rediss://h/0?ssl_cert_reqs=none"),
        ("rediss://h", "rediss://h/?ssl_cert_reqs=required"),
        ("redis://h?ssl_ca_certs=/a b/ca.pem", "redis://h/?ssl_ca_certs=%2Fa%20b%2Fca.pem&ssl_cert_reqs=required"),
        ("unix:///run/r.sock?db=3", "redis+socket:///run/r.sock?virtual_host=3"),
        ("unix://me:pw@/run/r.sock", "redis+socket://me:pw@/run/r.sock"),
        ("unix:///run/r.sock?password=p%40w", "redis+socket://:p%40w@/run/r.sock"),
        ("redis+socket:///run/a@b.sock?virtual_host=/2", "redis+socket:///run/a%40b.sock?virtual_host=2"),
        ("socket:///run/r%20s.sock", "redis+socket:///run/r%20s.sock"),
        ("redis://h:7?db=2", "redis://h:7/2"),
        ("redis://:a@b@h/1", "redis://:a%40b@h/1"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("REDIS://h/0\n", "redis://h/0"),
    ],
)
def test_every_spelling_of_a_redis_is_brought_into_the_one_that_kombu_reads(said: str, read: str) -> None:
    config = Settings(redis_url=said)
    assert config.broker_url == read == Settings(redis_url=read).redis_url
    Connection(config.broker_url).as_uri()


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("redis://:hunter2/x@h/0", "/ is %2F"),
        ("redis://:hunter2?x@h/0", "? is %3F"),
        ("redis://:hunter2#x@h/0", "# is %23"),
        ("redis://:hunter2;x@h/0", "semicolon"),
        ("redis://:hunter2", "port"),
        ("redis://h:0/0", "port"),
        ("redis://h:99999/0", "port"),
        ("redis://:hunter2@[::1/0", "cannot be read"),
        ("redis://h/hunter2", "number of a database"),
        ("redis://h/0?db=1", "number of a database"),
        ("redis://h/0?hunter2", "NAME=VALUE"),
        ("redis://h/0?db=1&db=1", "twice"),
        ("redis://h/0?socket_timeout=hunter2", "the parameter socket_timeout"),
        ("rediss://h/0?ssl_cert_reqs=hunter2", "ssl_cert_reqs"),
        ("rediss://h/0?ssl_check_hostname=hunter2", "ssl_check_hostname"),
        ("rediss://h/0?ssl_ca_certs=", "ssl_ca_certs"),
        ("unix://hunter2/run/r.sock", "three slashes"),
        ("unix://:hunter2/x@/run/r.sock", "percent-encode"),
        ("unix:///", "names no socket"),
        ("unix:///r.sock?ssl_ca_certs=hunter2", "the parameter ssl_ca_certs"),
        ("unix:///r#hunter2.sock", "# is %23"),
        ("h:6379", "use redis://"),
        ("amqp://u:hunter2@h", "use redis://"),
    ],
)
def test_of_a_redis_url_that_cannot_be_read_the_part_is_named_and_nothing_shown(url: str, part: str) -> None:
    with pytest.raises(ValueError, match="is not a Redis URL") as refused:
        read_redis_url(url)
    assert part in str(refused.value) and "hunter2" not in str(refused.value)


def test_an_address_in_a_setting_is_refused_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from contract.settings import load_settings

    monkeypatch.setenv("INKMILL_DATABASE_URL", "postgresql://u:p@hunter2@h/d")
    monkeypatch.setenv("INKMILL_REDIS_URL", "redis://:hunter2#x@h/0")
    with pytest.raises(UsageError) as refused:
        load_settings()
    said = str(refused.value)
    assert "INKMILL_DATABASE_URL: is not a database URL: it has an @ too many; percent-encode" in said
    assert "INKMILL_REDIS_URL: is not a Redis URL: it has an @ after the host; percent-encode" in said
    assert "hunter2" not in said
