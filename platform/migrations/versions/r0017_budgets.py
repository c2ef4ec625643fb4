"""What projects may spend by environment and period, and what of it was told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "budgets",
        sa.Column("project", TEXT, sa.ForeignKey("projects.name"), primary_key=True),
        sa.Column("environment", TEXT, primary_key=True),
        sa.Column("period", TEXT, primary_key=True),
        sa.Column("amount_nanos", sa.BigInteger, nullable=False),
        sa.Column("is_hard", sa.Boolean, nullable=False),
        sa.Column("thresholds", sa.JSON, nullable=False),
        sa.Column("set_at", TEXT, nullable=False),
        sa.Column("set_by", TEXT, nullable=False),
        sa.Column("began", TEXT, nullable=False),
        sa.Column("reached", sa.Float, nullable=False),
        sa.Column("told", sa.Float, nullable=False),
    )
