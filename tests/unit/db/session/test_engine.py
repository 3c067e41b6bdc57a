"""Opening a database: what is private stays private, and what goes wrong is said in words, without a password."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, select, text

from contract.errors import DatabaseUnreachable, UsageError
from db.jobs.ingest import Ingest
from db.jobs.jobs import cancel_job, get_job, list_jobs
from db.jobs.prompt_rows import NewBatch
from db.models import Batch
from db.results.export_rows import reading_results
from db.session.engine import Database, open_database
from db.session.sqlite import _enter_wal, sqlite_module
from db.work.recovery import sweep
from tests.conftest import PostgresServer, start_postgres
from tests.unit.db.mill import SPEC, Mill, rows

ROOT = Path(__file__).parents[4]


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own belong to one user."""
    folder = Path(tempfile.mkdtemp(prefix="inkmill-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def open_as_nobody(url: str) -> str:
    """What opening a database says to a process that is not root, for root may write anywhere."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # the interpreter itself may lie where nobody else can start it
        said = "nothing"
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(pwd.getpwnam("nobody").pw_gid)
                os.setuid(pwd.getpwnam("nobody").pw_uid)
            open_database(url)
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.parametrize("mask", [0o022, 0o000])
def test_an_sqlite_file_and_its_companions_belong_to_their_owner_alone(sqlite_url: str, mask: int) -> None:
    before = os.umask(mask)
    try:
        database = open_database(sqlite_url)
        Mill(database).submit()
        path = Path(database.url.database or "")
        modes = {name: stat.S_IMODE(Path(f"{path}{name}").stat().st_mode) for name in ("", "-wal", "-shm")}
        assert modes == {"": 0o600, "-wal": 0o600, "-shm": 0o600}
        database.close()
    finally:
        os.umask(before)


def test_a_missing_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    open_database(f"sqlite:///{tmp_path / 'a' / 'inkmill.db'}").close()
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


def test_opening_a_database_again_keeps_the_locks_that_this_process_holds_on_it(sqlite_url: str) -> None:
    """Closing any file descriptor of a file drops its locks; another process then takes the WAL away, and what is in
    it (sqlite.org/howtocorrupt.html, 2.2). SQLite's shared lock lies on the 510 bytes from 0x40000002."""
    first = open_database(sqlite_url)
    Mill(first).submit()
    open_database(sqlite_url).close()
    program = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)"
    path = str(first.url.database)
    done = subprocess.run([sys.executable, "-c", program, path], text=True, capture_output=True, check=False)
    assert "BlockingIOError" in done.stderr
    first.close()


@pytest.mark.parametrize(
    "url",
    ["", "no url", "sqlite://", "sqlite:///:memory:", "sqlite:///file:shared.db?uri=true", "mysql://u:secret@h/d",
     "postgresql+psycopg2://u:secret@h/d", "postgresql+asyncpg://u:secret@h/d", "nonsense+x://u:secret@h/d", "sqlite://u:secret@h/x"],
)  # fmt: skip
def test_an_address_that_cannot_be_used_is_wrong_use(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="INKMILL_DATABASE_URL") as caught:
        open_database(url)
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DatabaseUnreachable, match=str(tmp_path / "file")):
        open_database(f"sqlite:///{tmp_path / 'file' / 'inkmill.db'}")


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnreachable, match=str(tmp_path)):
        open_database(f"sqlite:///{tmp_path}")


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "inkmill.db"
    path.write_text("this is a letter to my aunt, and no database at all\n" * 50)
    with pytest.raises(DatabaseUnreachable, match="not a database"):
        open_database(f"sqlite:///{path}")
    assert path.read_text().startswith("this is a letter")


def test_a_folder_that_cannot_be_written_is_named(public_folder: Path) -> None:
    said = open_as_nobody(f"sqlite:///{public_folder / 'inkmill.db'}")
    assert said.startswith("DatabaseUnreachable") and str(public_folder / "inkmill.db") in said


def test_a_database_of_somebody_else_is_refused_at_once(public_folder: Path) -> None:
    path = public_folder / "inkmill.db"
    open_database(f"sqlite:///{path}").close()
    path.chmod(0o644)
    started = time.monotonic()
    said = open_as_nobody(f"sqlite:///{path}")
    assert said.startswith("DatabaseUnreachable") and str(path) in said
    assert time.monotonic() - started < 10  # and not after waiting for a lock that nobody holds


def test_a_file_system_that_cannot_share_memory_is_refused(tmp_path: Path) -> None:
    # This VFS of SQLite's own has no shared memory, as network file systems have none.
    connection = sqlite_module().connect(f"file:{tmp_path / 'x.db'}?vfs=unix-dotfile", uri=True)
    with pytest.raises(DatabaseUnreachable, match="WAL"):
        _enter_wal(connection)
    connection.close()


def test_a_database_whose_file_vanished_is_unreachable(sqlite_url: str) -> None:
    database = open_database(sqlite_url)
    database.close()
    shutil.rmtree(Path(database.url.database or "").parent)
    with pytest.raises(DatabaseUnreachable, match="does not answer"):
        Mill(database).submit()


def test_a_server_that_is_not_there_is_unreachable_without_its_password() -> None:
    with pytest.raises(DatabaseUnreachable) as caught:
        open_database("postgresql+psycopg://someone:hidden-secret@127.0.0.1:9/x", timeout=2)
    assert "127.0.0.1" in str(caught.value) and "hidden-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "option", ["options=-c%20a%3Dhidden-secret", "sslpassword=hidden-secret", "oddity=hidden-secret"]
)
def test_no_option_of_a_url_is_shown_but_those_that_say_where(option: str) -> None:
    with pytest.raises(DatabaseUnreachable, match=r"host=127\.0\.0\.1") as caught:
        open_database(f"postgresql+psycopg://u@/x?host=127.0.0.1&port=9&{option}", timeout=2)
    assert "hidden-secret" not in str(caught.value)


@pytest.mark.parametrize("way", ["insert", "copy"])
def test_an_error_of_the_database_quotes_no_text_not_even_in_its_traceback(database: Database, way: str) -> None:
    with database.write() as connection:
        connection.execute(text("CREATE TABLE short (prompt varchar(99) CHECK (length(prompt) < 4))"))
    if way == "copy" and database.sqlite:
        return  # it has none
    prompt = " ".join(("the", "secret", "prompt"))  # a traceback shows the lines of this file too
    try:
        with database.write() as connection:
            if way == "insert":
                connection.execute(text("INSERT INTO short VALUES (:a)"), [{"a": prompt}] * 2)
            else:
                driver = connection.connection.driver_connection
                assert driver is not None
                with driver.cursor().copy("COPY short FROM STDIN") as copy:
                    copy.write_row([prompt])
    except Exception:
        told = traceback.format_exc()
    assert "check constraint" in told.lower()
    assert "the secret" not in told


def test_a_password_among_the_options_is_hidden_too() -> None:
    with pytest.raises(DatabaseUnreachable) as caught:
        open_database("postgresql+psycopg://u@/x?host=127.0.0.1&port=9&password=hidden-secret", timeout=2)
    assert "hidden-secret" not in str(caught.value)


def test_an_option_that_the_server_does_not_know_is_unreachable_in_words(postgres_url: str) -> None:
    with pytest.raises(DatabaseUnreachable, match="no_such_option"):
        open_database(str(make_url(postgres_url).update_query_dict({"no_such_option": "1"})))


def test_a_database_name_that_does_not_exist_is_named(postgres_server: PostgresServer) -> None:
    with pytest.raises(DatabaseUnreachable, match="no_such_database"):
        open_database(postgres_server.url("no_such_database"))


def test_a_role_that_may_not_make_tables_is_told_so(postgres_server: PostgresServer, empty_postgres_url: str) -> None:
    url = make_url(empty_postgres_url)
    role = f"reader_{url.database}"
    postgres_server.execute(f"CREATE ROLE {role} LOGIN")
    try:
        with pytest.raises(DatabaseUnreachable, match="permission denied"):
            open_database(url.set(username=role).render_as_string(hide_password=False))
    finally:
        postgres_server.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_hold_every_text_is_refused_with_what_to_type(
    postgres_server: PostgresServer, encoding: str
) -> None:
    name = f"of_{encoding.lower()}"
    postgres_server.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    try:
        with pytest.raises(UsageError, match=rf"is in {encoding}.*TEMPLATE template0;") as caught:
            open_database(postgres_server.url(name))
    finally:
        postgres_server.drop(name)
    postgres_server.execute(str(caught.value).partition("INKMILL_DATABASE_URL: ")[2])
    open_database(postgres_server.url("inkmill")).close()
    postgres_server.drop("inkmill")


@pytest.fixture
def reader(postgres_server: PostgresServer, postgres_url: str) -> Iterator[str]:
    """The URL of a role that may read a database whose tables are in place, and nothing else."""
    url = make_url(postgres_url)
    role, name = f"reader_{url.database}", url.database or ""
    postgres_server.execute(f"CREATE ROLE {role} LOGIN")
    postgres_server.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}", name)
    yield url.set(username=role).render_as_string(hide_password=False)
    postgres_server.drop(name)
    postgres_server.execute(f"DROP ROLE {role}")


def test_a_role_that_may_only_read_is_told_what_to_grant(postgres_server: PostgresServer, reader: str) -> None:
    with pytest.raises(UsageError, match="may not write its tables") as caught:
        open_database(reader)
    for statement in str(caught.value).partition("as their owner: ")[2].split("; "):
        postgres_server.execute(statement, make_url(reader).database or "")
    database = open_database(reader)
    mill = Mill(database)
    job = mill.submit()
    mill.work_off()
    assert mill.status(job) == "completed"
    database.close()


def test_a_role_whose_transactions_are_read_only_is_told_so_at_opening(
    postgres_server: PostgresServer, reader: str
) -> None:
    url = make_url(reader)
    postgres_server.execute(f"ALTER ROLE {url.username} SET default_transaction_read_only = on")
    with pytest.raises(DatabaseUnreachable, match=f"ALTER ROLE {url.username} RESET default_transaction_read_only"):
        open_database(reader)


def test_time_limits_of_a_role_or_a_database_do_not_end_our_statements(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    name = make_url(postgres_url).database
    limits = {"statement_timeout": "50ms", "lock_timeout": "50ms", "idle_session_timeout": "200ms",
              "idle_in_transaction_session_timeout": "100ms", "default_transaction_isolation": "serializable",
              "client_encoding": "LATIN1"}  # fmt: skip
    for limit, value in limits.items():
        postgres_server.execute(f"ALTER DATABASE {name} SET {limit} = '{value}'")
    database = open_database(postgres_url)
    with database.write() as connection:
        connection.execute(text("SELECT pg_sleep(0.2)"))
        assert connection.execute(text("SHOW transaction_isolation")).scalar() == "read committed"
        time.sleep(0.3)
        assert connection.execute(text("SELECT 'grün → 日本'")).scalar() == "grün → 日本"
    with database.engine.connect() as connection:
        connection.commit()
        time.sleep(0.4)
        assert connection.execute(text("SELECT 1")).scalar() == 1
    database.close()


def test_a_server_that_stops_is_unreachable_and_serves_again_once_it_is_back() -> None:
    folder = Path(tempfile.mkdtemp(prefix="inkmill-postgres-"))
    folder.chmod(0o755)
    try:
        server, stop = start_postgres(folder)
    except Exception as error:
        shutil.rmtree(folder)
        pytest.fail(str(error)) if os.environ.get("CI") else pytest.skip(str(error))
    try:
        database = open_database(server.url("postgres"), timeout=2)
        mill = Mill(database)
        mill.submit()
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        job = mill.submit()  # a connection that was cut is replaced
        stop()
        with pytest.raises(DatabaseUnreachable) as caught:
            mill.states(job)
        assert "does not answer" in str(caught.value)
        with pytest.raises(DatabaseUnreachable):
            mill.submit()
        database.close()
    finally:
        stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_server_that_takes_no_writes_for_a_while_is_away_for_that_long(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    database = open_database(postgres_url)
    job = Mill(database).submit()
    setting = f'ALTER DATABASE "{database.url.database}" SET default_transaction_read_only'
    postgres_server.execute(f"{setting} = on")
    database.engine.dispose()
    with pytest.raises(DatabaseUnreachable, match="read-only"):
        cancel_job(database, job)
    with pytest.raises(DatabaseUnreachable, match="read-only"):
        Mill(database).submit()
    postgres_server.execute(f"{setting} = off")
    cancel_job(database, job)
    database.close()


def test_a_connection_that_is_cut_while_prompts_are_copied_is_unreachable(
    postgres_server: PostgresServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_database(postgres_url)
    ingest = Ingest(database, SPEC)

    class Cutting(list[Any]):
        """Rows at whose second the server cuts every connection."""

        def __iter__(self) -> Iterator[Any]:
            for number, row in enumerate(super().__iter__()):
                if number == 1:
                    ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
                    postgres_server.execute(f"{ending}'{database.url.database}'")
                yield row

    monkeypatch.setattr(NewBatch, "__init__", lambda batch: vars(batch).update(rows=Cutting(), outputs=0, size=0))
    with pytest.raises(DatabaseUnreachable):
        ingest.write(rows(4000))
    ingest.abandon()
    assert list_jobs(database) == []
    database.close()


def test_a_writer_that_stops_in_the_middle_lets_go_of_its_rows_after_a_while(postgres_url: str) -> None:
    stopped, other = Mill(open_database(postgres_url, timeout=0.5)), Mill(open_database(postgres_url))
    other.submit()
    claim = other.claim()
    other.expire(claim)

    def stop_inside() -> None:
        with stopped.database.write() as connection:
            connection.execute(select(Batch.id).where(Batch.id == claim.batch_id).with_for_update()).all()
            assert sweep(other.database) == 0, "the row is locked"
            time.sleep(2.5)  # as in a process that was stopped, or on a machine that froze
            assert sweep(other.database) == 1
            connection.execute(text("SELECT 1"))

    with pytest.raises(DatabaseUnreachable):
        stop_inside()
    assert stopped.claim().batch_id == claim.batch_id, "the next transaction has a connection that works"
    for mill in (stopped, other):
        mill.database.close()


def test_a_reader_may_pause_between_its_rows(postgres_url: str) -> None:
    database = open_database(postgres_url, timeout=0.5)
    job = Mill(database).submit(6)
    Mill(database).work_off()
    with reading_results(database, get_job(database, job)) as results:
        outputs = results.outputs()
        next(outputs)
        time.sleep(2.5)  # as in an export that was stopped with Ctrl-Z
        assert len(list(outputs)) == 5
    database.close()


def test_a_transaction_that_only_reads_sees_one_state(database: Database) -> None:
    mill = Mill(database)
    mill.submit()
    with database.read() as connection:
        before = connection.execute(text("SELECT count(*) FROM jobs")).scalar()
        mill.submit()
        assert connection.execute(text("SELECT count(*) FROM jobs")).scalar() == before


def test_times_are_seconds_since_the_epoch_on_both(mill: Mill) -> None:
    job = get_job(mill.database, mill.submit())
    assert abs(job.created_at - time.time()) < 60
