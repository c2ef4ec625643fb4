"""Legal holds on subjects: who placed one and why, and who lifted it. No subject's key is in them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
IN_FORCE = sa.text("lifted_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "erasure_holds",
        sa.Column("hold_id", TEXT, primary_key=True),
        sa.Column("project", TEXT, sa.ForeignKey("projects.name"), nullable=False),
        sa.Column("entity", TEXT, nullable=False),
        sa.Column("subject_hash", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("placed_at", TEXT, nullable=False),
        sa.Column("placed_by", TEXT, nullable=False),
        sa.Column("lifted_at", TEXT),
        sa.Column("lifted_by", TEXT, nullable=False),
        sa.Column("lift_reason", TEXT, nullable=False),
    )
    op.create_index("ix_erasure_holds_project", "erasure_holds", ["project"])
    op.create_index(
        "erasure_holds_once",
        "erasure_holds",
        ["project", "entity", "subject_hash"],
        unique=True,
        sqlite_where=IN_FORCE,
        postgresql_where=IN_FORCE,
    )
