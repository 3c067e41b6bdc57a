"""The tables that migrations make are the tables that the models declare, whoever opens the database first."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Index, inspect, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex

from contract.errors import UsageError
from db.migrations import HEAD
from db.migrations.apply import config
from db.models import Base
from db.session import Database, open_database

ROOT = Path(__file__).parents[3]
OPENER = """
import sys, time
from db.session import open_database
print("ready", flush=True)
sys.stdin.readline()
database = open_database(sys.argv[1])
with database.read() as connection:
    print(connection.exec_driver_sql("SELECT count(*) FROM jobs").scalar())
database.close()
"""


def is_expression_index(index: Index) -> bool:
    return index.name in ("ix_outputs_review", "ix_outputs_review_job")


def plain(sql: str) -> str:
    """An index's SQL without what differs only in writing."""
    return re.sub(r"[\s\"]+", " ", sql).strip().lower()


def test_migrated_and_declared_tables_are_the_same(database: Database) -> None:
    def compared(thing: Any, name: str | None, kind: str, reflected: bool, other: Any) -> bool:
        # SQLite reflects no index on an expression: their SQL is compared below.
        return not (database.sqlite and kind == "index" and is_expression_index(thing))

    options = {"compare_type": True, "compare_server_default": True, "include_object": compared}
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_the_review_indexes_are_the_same_in_sqlite(database: Database) -> None:
    if not database.sqlite:
        pytest.skip("PostgreSQL reflects them")
    declared = {
        str(index.name): plain(str(CreateIndex(index).compile(dialect=sqlite.dialect())))
        for index in Base.metadata.tables["outputs"].indexes
        if is_expression_index(index)
    }
    with database.read() as connection:
        found = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE name LIKE 'ix_outputs_review%'")
        migrated = {name: plain(sql) for name, sql in found}
    assert len(declared) == 2
    assert migrated == declared


def test_the_newest_revision_is_the_one_that_the_code_expects() -> None:
    assert ScriptDirectory.from_config(config()).get_heads() == [HEAD]


def test_opening_twice_changes_nothing(empty_url: str) -> None:
    for _ in range(2):
        database = open_database(empty_url)
        with database.read() as connection:
            assert set(inspect(connection).get_table_names()) == {*Base.metadata.tables, "alembic_version"}
        database.close()


def test_ten_processes_that_open_a_new_database_at_once_do_not_collide(empty_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER, empty_url], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(10)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    results = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 10, results
    assert [out for out, _ in results] == ["0\n"] * 10


def test_an_up_to_date_database_is_opened_without_alembic(database: Database) -> None:
    url = database.url.render_as_string(hide_password=False)
    program = "import sys, db.session as s; s.open_database(sys.argv[1]); print('alembic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program, url], cwd=ROOT, text=True, capture_output=True, check=True)
    assert done.stdout == "False\n"


def test_a_database_of_a_newer_version_is_refused_in_words(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(UsageError, match="newer"):
        open_database(database.url.render_as_string(hide_password=False))
