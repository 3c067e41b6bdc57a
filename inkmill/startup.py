"""What most commands start with: the installation's settings and its open database."""

from __future__ import annotations

from contract.settings import Settings, settings
from db.session.engine import Database, open_database


def settings_and_database() -> tuple[Settings, Database]:
    """The settings and the database, created or migrated if needed.

    Raises:
        InkmillError: either cannot be used.
    """
    config = settings()
    return config, open_database(config.sql_url, timeout=config.service_seconds)
