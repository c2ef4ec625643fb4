"""Tags of projects, and the month that usage is billed in which came after its own was closed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("projects", sa.Column("tags", sa.JSON))
    op.add_column("usage", sa.Column("billed_in", TEXT))
    op.create_index("ix_usage_billed_in", "usage", ["billed_in"])
