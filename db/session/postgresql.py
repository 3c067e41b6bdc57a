"""PostgreSQL: connections that notice a silent server, and what each is told at its beginning."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Engine, create_engine, event

from db.session.options import json_options
from db.session.postgres_probe import apply_session_settings


def postgresql_engine(url: URL, timeout: float) -> Engine:
    """An engine for that server; it connects when it is first used.

    Args:
        timeout: seconds that connecting may take; a server that is silent for about as long is given up.
    """
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_size=10,
        max_overflow=20,
        # A server that accepts a connection and never answers must not block a command for ever.
        connect_args={
            "client_encoding": "UTF8",
            "connect_timeout": max(2, int(timeout)),
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": int(3000 * timeout),
        },
        **json_options(),
    )

    def connect(dialect: Any, record: Any, words: Any, options: Any) -> Any:
        from db.session.keepalive import AttentiveConnection  # loads psycopg, which SQLite does without

        return AttentiveConnection.to(timeout / 2, *words, **options)

    def set_up(connection: Any, record: Any) -> None:
        apply_session_settings(connection)
        # A process that was stopped inside a transaction, or whose machine froze, may not keep its rows locked: nobody
        # could take its batch over. No write of ours pauses for a second.
        connection.execute(f"SET idle_in_transaction_session_timeout = {int(3000 * timeout)}")
        connection.commit()

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", set_up)
    return engine
