"""What the settings refuse, and what they make of what they are told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from contract.errors import ExitCode, UsageError
from contract.setting_names import unknown_variables
from contract.settings import Settings, default_home, load_settings, settings
from db.session.engine import open_database
from inkmill.cli import run

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


@pytest.mark.parametrize("said", ["a\udcffb", "~nobody-of-that-name/x"])
def test_a_home_that_is_no_text_or_nobodys_is_refused(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("INKMILL_HOME", said)
    with pytest.raises(UsageError, match="INKMILL_HOME"):
        load_settings()


@pytest.mark.parametrize(
    "name",
    ["a?b", "a%41b", "a#b", "a;b&c=d", "a\"b'c", "a\\b", "a@b:c", "grüße  日本", "a%2Fb", "%20", "a\nb", "a\tb", " a "],
)
def test_any_other_home_has_its_database_in_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setenv("INKMILL_HOME", str(tmp_path / name))
    config = load_settings()
    open_database(config.sql_url).close()
    assert (tmp_path / name / "inkmill.db").stat().st_size
    assert config.sql_address == str(tmp_path / name / "inkmill.db")
    assert [path.name for path in tmp_path.iterdir() if path.name != "here"] == [name]


def test_a_line_end_after_the_home_belongs_to_it_only_if_there_is_such_a_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("INKMILL_HOME", f"{tmp_path}/a\n")
    assert load_settings().home == tmp_path / "a"
    (tmp_path / "a\n").mkdir()
    assert load_settings().home == tmp_path / "a\n"


def test_the_settings_file_is_looked_for_in_the_very_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / " a ").mkdir()
    (tmp_path / " a " / "inkmill.toml").write_text('model = "demo"')
    monkeypatch.setenv("INKMILL_HOME", f"{tmp_path}/ a ")
    assert load_settings().model == "demo"


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("INKMILL_MODLE", "INKMILL_MODEL"),
        ("INKMILL_SAFTEY", "INKMILL_SAFETY"),
        ("INKMILL_DATABASE", "INKMILL_DATABASE_URL"),
        ("INKMILL_LEASE", "INKMILL_LEASE_SECONDS"),
        ("INKMILL__MODEL", "INKMILL_MODEL"),
        ("INKMIL_MODEL", "INKMILL_MODEL"),
        ("INKMLIL_HOME", "INKMILL_HOME"),
    ],
)
def test_a_variable_that_is_nearly_a_settings_is_told_with_it(
    monkeypatch: pytest.MonkeyPatch, variable: str, meant: str
) -> None:
    monkeypatch.setenv(variable, "hunter2")
    with pytest.raises(UsageError, match=f"^{variable}: is no setting; did you mean {meant}?") as refused:
        load_settings()
    assert "hunter2" not in str(refused.value)


def test_a_variable_that_resembles_no_setting_may_be_somebody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "INKMILL_LOG_LEVEL",
        "INKMILL_REDIS_PORT",
        "INKMILL_MODEL_DIR",
        "MILL_HOME",
        "WINDMILL_DATABASE_URL",
        "INK_HOME",
    ):
        monkeypatch.setenv(name, "7")
    load_settings()
    assert unknown_variables(os.environ, Settings.model_fields) == [
        "INKMILL_MODEL_DIR",
        "INKMILL_REDIS_PORT",
    ]  # fmt: skip  (Kubernetes sets the second for a service called inkmill-redis)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('modell = "demo"', "modell is no setting; did you mean model?"),
        ('MODEL = "demo"', "MODEL is no setting; did you mean model?"),
        ('INKMILL_MODEL = "demo"', "INKMILL_MODEL is no setting; did you mean model?"),
        ("idle-seconds = 3", "idle-seconds is no setting; did you mean idle_seconds?"),
        ('[inkmill]\nmodel = "demo"', "inkmill is no setting; there are home, database_url"),
        ("model = demo", "is not written in TOML"),
    ],
)
@pytest.mark.parametrize("where", ["home", "here"])
def test_a_settings_file_with_a_wrong_key_is_named_with_it(tmp_path: Path, where: str, line: str, said: str) -> None:
    file = tmp_path / where / "inkmill.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(line)
    with pytest.raises(UsageError) as refused:
        load_settings()
    assert said in str(refused.value) and "inkmill.toml" in str(refused.value)


@pytest.mark.parametrize("name", ["model", "safety", "device", "dtype"])
def test_an_empty_name_is_told_and_never_taken_for_the_default(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"INKMILL_{name.upper()}", " ")
    with pytest.raises(UsageError, match=f"INKMILL_{name.upper()}: is empty"):
        load_settings()


@pytest.mark.parametrize("command", ["submit p.txt", "run p.txt", "worker", "try Once"])
@pytest.mark.parametrize("option", ["--model", "--safety", "--device", "--dtype"])
def test_an_empty_option_is_told_and_never_taken_for_the_default(
    command: str, option: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if command.startswith("try") and option == "--safety":
        return  # it has none
    (here / "p.txt").write_text("Once")
    settings.cache_clear()
    assert run([*command.split(), option, ""]) == ExitCode.USAGE
    assert capsys.readouterr().err.startswith(f"inkmill: {option}")
    settings.cache_clear()


def test_what_is_wrong_with_a_value_is_said_in_words_of_ours(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    monkeypatch.setenv("INKMILL_NICE", "soon")
    (here / "inkmill.toml").write_text("model = 5\nlease_seconds = 0")
    with pytest.raises(UsageError) as refused:
        load_settings()
    said = str(refused.value)
    assert "INKMILL_NICE: has to be a whole number from 0 to 10" in said
    assert "INKMILL_LEASE_SECONDS (lease_seconds in inkmill.toml): has to be a number from 1 to 3600" in said
    assert "INKMILL_MODEL (model in inkmill.toml): has to be a text in quotes" in said


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


def test_what_cannot_be_scored_by_is_refused(here: Path) -> None:
    (here / "inkmill.toml").write_text('score_by = "sentence"')
    assert load_settings().score_by == "sentence"
    (here / "inkmill.toml").write_text('score_by = "line"')
    with pytest.raises(
        UsageError, match=r"INKMILL_SCORE_BY \(score_by in inkmill.toml\): must be window or sentence, not 'line'"
    ):
        load_settings()


def test_models_lie_in_the_home_unless_another_folder_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, here: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for said in ("", "  "):
        monkeypatch.setenv("INKMILL_MODELS", said)
        assert load_settings().models_folder == home / "models"
    monkeypatch.setenv("INKMILL_MODELS", "mine")
    assert load_settings().models_folder == here / "mine"
    monkeypatch.setenv("INKMILL_MODELS", "~/mine")
    assert load_settings().models_folder == Path.home() / "mine"
    monkeypatch.delenv("INKMILL_MODELS")
    for said, meant in (("shared", home / "shared"), ("/x/shared", Path("/x/shared")), ("~/m", Path.home() / "m")):
        (home / "inkmill.toml").write_text(f'models = "{said}"')
        assert load_settings().models_folder == meant
    monkeypatch.setenv("INKMILL_MODELS", "a\udcffb")
    with pytest.raises(UsageError, match="INKMILL_MODELS: is not UTF-8"):
        load_settings()
