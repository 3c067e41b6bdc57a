"""Brings a database to the newest revision, inside the caller's transaction."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from contract.errors import UsageError

FOLDER = Path(__file__).parent


def config() -> Config:
    """Alembic's configuration, without an .ini file: the migrations travel inside the package."""
    configuration = Config()
    configuration.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    return configuration


def upgrade(connection: Connection) -> None:
    """Applies what is missing. The caller holds the lock that keeps other processes out, and commits.

    Raises:
        UsageError: where a newer version of the program made these tables.
    """
    configuration = config()
    current = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(configuration).walk_revisions()}
    if current is not None and current not in known:
        raise UsageError(
            f"the database is at revision {current}, made by a newer Inkmill; upgrade this one, "
            "or name another database in INKMILL_DATABASE_URL"
        )
    configuration.attributes["connection"] = connection
    command.upgrade(configuration, "head")
