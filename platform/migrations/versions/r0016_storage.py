"""What projects kept when they were last measured, and how much they may keep."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "storage",
        sa.Column("project", TEXT, sa.ForeignKey("projects.name"), primary_key=True),
        sa.Column("measured_at", TEXT, nullable=False),
        sa.Column("stored", sa.JSON, nullable=False),
    )
    op.add_column("quotas", sa.Column("max_storage_mib", sa.Integer))
