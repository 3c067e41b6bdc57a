"""How many tokens in a row a text has copied from what its model was tuned with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.add_column("outputs", sa.Column("copied_tokens", sa.Integer(), nullable=True))
