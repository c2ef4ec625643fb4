"""What the policies were asked about reads, and answered, counted by the hour."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "read_decisions",
        sa.Column("decision_key", TEXT, primary_key=True),
        sa.Column("first_at", TEXT, nullable=False),
        sa.Column("last_at", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("action", TEXT, nullable=False),
        sa.Column("project", TEXT, nullable=False),
        sa.Column("allowed", sa.Boolean, nullable=False),
        sa.Column("policies", sa.JSON, nullable=False),
        sa.Column("version", TEXT, nullable=False),
        sa.Column("asked", sa.JSON, nullable=False),
        sa.Column("is_sensitive", sa.Boolean, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_read_decisions_first_at", "read_decisions", ["first_at"])
    op.create_index("ix_read_decisions_last_at", "read_decisions", ["last_at"])
    op.create_index("ix_read_decisions_project", "read_decisions", ["project"])
