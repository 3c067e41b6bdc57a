"""Brings a database to the newest revision, inside the caller's transaction."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

FOLDER = Path(__file__).parent


def config() -> Config:
    """Alembic's configuration, without an .ini file: the migrations travel inside the package."""
    configuration = Config()
    configuration.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    return configuration


def upgrade(connection: Connection) -> None:
    """Applies what is missing. The caller holds the lock that keeps other processes out, and commits."""
    configuration = config()
    configuration.attributes["connection"] = connection
    command.upgrade(configuration, "head")
