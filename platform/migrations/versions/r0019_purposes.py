"""What a person said that data may be used for, by entry of the catalog."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "purposes",
        sa.Column("project", TEXT, sa.ForeignKey("projects.name"), primary_key=True),
        sa.Column("entry", TEXT, primary_key=True),
        sa.Column("purposes", sa.JSON, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("decided_at", TEXT, nullable=False),
        sa.Column("decided_by", TEXT, nullable=False),
    )
