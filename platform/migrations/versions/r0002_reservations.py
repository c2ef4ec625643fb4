"""What a project's budget keeps free for runs that have not ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "reservations",
        sa.Column("run_id", TEXT, sa.ForeignKey("runs.run_id"), primary_key=True),
        sa.Column("project", TEXT, sa.ForeignKey("projects.name"), nullable=False),
        sa.Column("nanos", sa.BigInteger, nullable=False),
        sa.Column("lapses_at", TEXT, nullable=False),
    )
    op.create_index("ix_reservations_project", "reservations", ["project"])
