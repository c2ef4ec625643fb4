"""Erasures: who asked, who decided, what was erased, and the certificate. No subject's key is in them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
UNDER_WAY = sa.text("state IN ('open', 'erasing')")


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("erasure_id", TEXT, primary_key=True),
        sa.Column("project", TEXT, sa.ForeignKey("projects.name"), nullable=False),
        sa.Column("entity", TEXT, nullable=False),
        sa.Column("subject_hash", TEXT, nullable=False),
        sa.Column("ground", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("requested_at", TEXT, nullable=False),
        sa.Column("requested_by", TEXT, nullable=False),
        sa.Column("decided_at", TEXT),
        sa.Column("decided_by", TEXT, nullable=False),
        sa.Column("decision_reason", TEXT, nullable=False),
        sa.Column("ended_at", TEXT),
        sa.Column("message", TEXT, nullable=False),
        sa.Column("rows_erased", sa.BigInteger, nullable=False),
        sa.Column("certificate", TEXT, nullable=False),
    )
    op.create_index("ix_erasures_project", "erasures", ["project"])
    op.create_index(
        "erasures_once",
        "erasures",
        ["project", "entity", "subject_hash"],
        unique=True,
        sqlite_where=UNDER_WAY,
        postgresql_where=UNDER_WAY,
    )
