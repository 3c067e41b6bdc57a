"""Alembic's entry: runs the migrations on the connection it was handed, in that connection's transaction."""

from __future__ import annotations

from alembic import context

from db.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
    compare_server_default=True,
)
context.run_migrations()
