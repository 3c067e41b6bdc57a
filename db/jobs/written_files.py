"""What was written where: exports, reports and skipped lines, so that nobody else's file is taken for one of them."""

from __future__ import annotations

from sqlalchemy import insert, select

from db.models import WrittenFile
from db.session.engine import Database, now


def record_file(database: Database, path: bytes, digest: str, job_id: int | None) -> None:
    """Remembers that a file with this content is written at `path`; said before it gets its name.

    Args:
        path: absolute, as the system's bytes: not every name is text.
        digest: SHA-256 of its bytes, in hexadecimal.
        job_id: None = the skipped lines of a prompt file.
    """
    if job_id in jobs_of_file(database, path, digest):
        return
    with database.write() as connection:
        connection.execute(insert(WrittenFile).values(path=path, digest=digest, job_id=job_id, created_at=now()))


def jobs_of_file(database: Database, path: bytes, digest: str) -> set[int | None]:
    """The jobs of which a file with this content was written at `path`; None among them = skipped lines."""
    query = select(WrittenFile.job_id).where(WrittenFile.digest == digest, WrittenFile.path == path)
    with database.read() as connection:
        return set(connection.scalars(query))
