"""Triggers in the database that write down every change of a status: a witness that sleeps through nothing."""

from __future__ import annotations

from collections.abc import Mapping

from bench.chaos.rawsql import RawSql

Change = tuple[str, str, str]
"""A table, a status, and the one that followed."""

ALLOWED: Mapping[str, Mapping[str, frozenset[str]]] = {
    "jobs": {
        "ingesting": frozenset({"queued"}),
        "queued": frozenset({"running", "cancelling", "paused"}),
        "running": frozenset({"completed", "cancelling", "paused", "cancelled"}),  # the last: retried in part
        "paused": frozenset({"queued", "cancelling", "completed", "cancelled"}),
        "cancelling": frozenset({"cancelled"}),
        "cancelled": frozenset({"queued"}),  # retried
        "completed": frozenset({"queued"}),
    },
    "batches": {
        "pending": frozenset({"generating", "cancelled", "generated", "done"}),  # the last three: cancelled meanwhile
        "generating": frozenset({"generated", "pending", "done", "cancelled"}),
        "generated": frozenset({"scoring", "done"}),  # the last: cancelled while no worker was there to score
        "scoring": frozenset({"done", "generated"}),
        "done": frozenset({"generated"}),  # unscored texts, retried
    },
    "prompts": {
        "pending": frozenset({"done", "cancelled", "dead"}),
        "cancelled": frozenset({"pending"}),  # retried
        "dead": frozenset({"pending"}),
        "done": frozenset({"pending"}),  # an unscored text, retried
    },
}
"""The changes that the plan knows, by table and status. `failed` is for a stack that cannot load its own model."""


def install(sql: RawSql) -> None:
    """Sets the triggers, once the program has made its tables."""
    sql.execute("CREATE TABLE chaos_changes (kind TEXT, old TEXT, new TEXT)")
    for table in ALLOWED:
        into = f"INSERT INTO chaos_changes VALUES ('{table}', old.status, new.status)"
        if sql.sqlite:
            sql.execute(
                f"CREATE TRIGGER chaos_{table} AFTER UPDATE OF status ON {table} "
                f"WHEN old.status <> new.status BEGIN {into}; END"
            )
            continue
        sql.execute(
            f"CREATE FUNCTION chaos_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {into}; RETURN NULL; END $$",
            f"CREATE TRIGGER chaos_{table} AFTER UPDATE OF status ON {table} FOR EACH ROW "
            f"WHEN (old.status <> new.status) EXECUTE FUNCTION chaos_{table}()",
        )


def changes(sql: RawSql) -> dict[Change, int]:
    """Every kind of change that was seen, and how often."""
    rows = sql.query("SELECT kind, old, new, count(*) FROM chaos_changes GROUP BY kind, old, new")
    return {(kind, old, new): int(count) for kind, old, new, count in rows}


def forbidden(seen: Mapping[Change, int]) -> list[str]:
    """The changes that the plan does not know."""
    return [
        f"{kind}: {old} to {new}, {count} times"
        for (kind, old, new), count in sorted(seen.items())
        if new not in ALLOWED[kind].get(old, ())
    ]
