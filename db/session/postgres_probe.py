"""What a PostgreSQL server has to be for our work, looked at when a database is opened and told in one sentence.

What a role or a database only sets for its sessions is set otherwise for ours; see `SESSION`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text

from contract.errors import DatabaseUnreachable, UsageError

SESSION = {
    # A large submit, an export or a migration takes its time; what hangs is noticed by `db.session.keepalive`.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "transaction_timeout": "0",
    "idle_session_timeout": "0",
    # Claims count on seeing what others have committed.
    "default_transaction_isolation": "read committed",
}
"""Settings of each of our sessions, whatever those of the role, the database or the server are."""


def apply_session_settings(connection: Any) -> None:
    """Applies `SESSION` to a connection of the driver's. Older servers do not know all of it."""
    for name, value in SESSION.items():
        setting = "SELECT set_config(name, %s, false) FROM pg_settings WHERE name = %s AND setting <> %s"
        connection.execute(setting, [value, name, value])


def check_server(connection: Connection, address: str) -> None:
    """Whether texts of any language can be stored there now.

    Raises:
        UsageError: the database is not in UTF-8.
        DatabaseUnreachable: it takes no writes.
    """
    query = (
        "SELECT current_setting('server_encoding') AS encoding, pg_is_in_recovery() AS standby, "
        "current_setting('default_transaction_read_only') AS read_only, "
        "quote_ident(current_database()) AS name, quote_ident(current_user) AS role"
    )
    server = connection.execute(text(query)).one()
    if server.encoding != "UTF8":
        raise UsageError(
            f"the database {address} is in {server.encoding}, which cannot hold every text; make one in UTF-8 and "
            "name it in INKMILL_DATABASE_URL: CREATE DATABASE inkmill ENCODING 'UTF8' TEMPLATE template0;"
        )
    if server.standby:
        raise DatabaseUnreachable(
            f"the database {address} is a standby, which is read-only; name its primary in INKMILL_DATABASE_URL"
        )
    if server.read_only == "on":
        raise DatabaseUnreachable(
            f"the database {address} is read-only for {server.role} (default_transaction_read_only is on); allow "
            f"writes: ALTER DATABASE {server.name} RESET default_transaction_read_only; "
            f"ALTER ROLE {server.role} RESET default_transaction_read_only;"
        )


_MISSING_RIGHTS = """
SELECT quote_ident(current_user) AS role, quote_ident(n.nspname) AS schema, count(*) AS tables
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('jobs'))
  AND CASE WHEN c.relkind = 'r' AND c.relname = ANY(:tables) THEN
    NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
         AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'))
  WHEN c.relkind = 'S' AND c.relname = ANY(:sequences) THEN NOT has_sequence_privilege(c.oid, 'USAGE')
  ELSE false END
GROUP BY n.nspname
"""


def check_rights(connection: Connection, address: str) -> None:
    """Whether our role may write what is there.

    Raises:
        UsageError: it may not; the message says what to grant.
    """
    from db.models import Base

    tables = [*Base.metadata.tables, "review_words"]
    names = {"tables": tables, "sequences": [f"{table}_id_seq" for table in tables]}
    lacking = connection.execute(text(_MISSING_RIGHTS), names).first()
    if lacking is not None:
        raise UsageError(
            f"the database {address}: the role {lacking.role} may not write its tables; run as their owner: "
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {lacking.schema} TO {lacking.role}; "
            f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {lacking.schema} TO {lacking.role};"
        )
