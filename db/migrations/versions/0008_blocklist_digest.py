"""What tells a job's blocklist from another without reading it; and the flags of edits, judged again.

A score that came after its edit had been rejected did not reach the flag. A reflag from the first output on mends
that; as one that was killed, it is carried on by a worker.
"""

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

jobs = sa.table("jobs", sa.column("id"), sa.column("blocklist", sa.JSON()), sa.column("blocklist_digest"))


def upgrade() -> None:
    op.add_column("jobs", sa.Column("blocklist_digest", sa.Text(), server_default=sa.text("''"), nullable=False))
    connection = op.get_bind()
    for job in connection.scalars(sa.select(jobs.c.id)).all():
        words = connection.scalar(sa.select(jobs.c.blocklist).where(jobs.c.id == job))
        if words:
            digest = hashlib.sha256("\0".join(words).encode(errors="surrogatepass")).hexdigest()
            connection.execute(sa.update(jobs).where(jobs.c.id == job).values(blocklist_digest=digest))
    op.execute(
        "UPDATE jobs SET reflagged_to = 0 "
        "WHERE reflagged_to IS NULL AND id IN (SELECT job_id FROM reviews WHERE revision > 0)"
    )
