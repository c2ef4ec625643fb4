"""What a detector found of persons in columns, and what was decided about it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0006"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "classifications",
        sa.Column("project", TEXT, sa.ForeignKey("projects.name"), primary_key=True),
        sa.Column("entry", TEXT, primary_key=True),
        sa.Column("column_name", TEXT, primary_key=True),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("classification", TEXT, nullable=False),
        sa.Column("confidence", sa.Float, nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("sampled_rows", sa.BigInteger, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("found_at", TEXT, nullable=False),
        sa.Column("found_by", TEXT, nullable=False),
        sa.Column("decided_at", TEXT),
        sa.Column("decided_by", TEXT, nullable=False),
        sa.Column("decision_reason", TEXT, nullable=False),
    )
