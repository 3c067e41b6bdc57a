"""What the settings refuse, and what they make of what they are told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from contract.errors import UsageError
from contract.settings import Settings, default_home, load_settings
from db.session.engine import open_database

SECONDS = [name for name, field in Settings.model_fields.items() if field.annotation is float]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder without settings, and none from outside."""
    for name in [name for name in os.environ if name.startswith("INKMILL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("INKMILL_HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize("value", ["inf", "nan", "-inf", "1e300", "-1", "soon"])
@pytest.mark.parametrize("name", SECONDS)
def test_a_time_that_no_clock_can_wait_for_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"INKMILL_{name.upper()}", value)
    with pytest.raises(UsageError, match=f"INKMILL_{name.upper()}"):
        load_settings()


@pytest.mark.parametrize("said", ["", "  "])
def test_an_empty_home_is_the_default_one_and_never_the_working_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str
) -> None:
    monkeypatch.setenv("INKMILL_HOME", said)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert load_settings().home == default_home() == tmp_path / "data" / "inkmill"


def test_a_relative_data_folder_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "data")
    assert default_home() == Path.home() / ".local" / "share" / "inkmill"


@pytest.mark.parametrize("said", ["a\nb", "a\rb", "a\tb", "a\x7fb", "a\udcffb", "~nobody-of-that-name/x"])
def test_a_home_that_would_break_a_file_of_settings_is_refused(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("INKMILL_HOME", said)
    with pytest.raises(UsageError, match="INKMILL_HOME"):
        load_settings()


@pytest.mark.parametrize("name", ["a?b", "a%41b", "a#b", "a;b&c=d", "a\"b'c", "a\\b", "a@b:c", "grüße  日本"])
def test_any_other_home_has_its_database_in_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setenv("INKMILL_HOME", str(tmp_path / name))
    config = load_settings()
    open_database(config.sql_url).close()
    assert (tmp_path / name / "inkmill.db").stat().st_size
    assert config.sql_address == str(tmp_path / name / "inkmill.db")
    assert [path.name for path in tmp_path.iterdir() if path.name != "here"] == [name]


def test_a_relative_database_lies_in_the_folder_where_it_is_said(
    monkeypatch: pytest.MonkeyPatch, here: Path, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "inkmill.toml").write_text('database_url = "sqlite:///in-home.db"')
    assert load_settings().sql_url == f"sqlite:///{tmp_path}/home/in-home.db"
    (here / "inkmill.toml").write_text('database_url = "sqlite+pysqlite:///below/here.db?timeout=9"')
    assert load_settings().sql_url == f"sqlite+pysqlite:///{here}/below/here.db?timeout=9"
    monkeypatch.setenv("INKMILL_DATABASE_URL", "sqlite:///said.db")
    assert load_settings().sql_url == f"sqlite:///{here}/said.db"


@pytest.mark.parametrize(
    "url", ["sqlite:////tmp/a%20b.db", "sqlite:///:memory:", "postgresql+psycopg://u:p@h/d", "sqlite://", "sqlite:///"]
)
def test_other_urls_stay_as_they_are(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("INKMILL_DATABASE_URL", url)
    assert load_settings().sql_url == url


def test_a_databases_address_tells_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INKMILL_DATABASE_URL", "postgresql://me:secret@db:5432/ink?sslpassword=secret")
    assert load_settings().sql_address == "postgresql://db:5432/ink"


def test_a_home_is_told_from_another_one_and_keeps_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = load_settings().installation
    assert load_settings().installation == first
    monkeypatch.setenv("INKMILL_HOME", str(tmp_path / "other"))
    assert load_settings().installation != first
