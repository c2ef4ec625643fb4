"""Roles for a time: asked for, in force, or over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
GOING_ON = sa.text("state IN ('open', 'active')")


def upgrade() -> None:
    op.create_table(
        "access_requests",
        sa.Column("request_id", TEXT, primary_key=True),
        sa.Column("project", TEXT, sa.ForeignKey("projects.name"), nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("environment", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("roles", sa.JSON, nullable=False),
        sa.Column("minutes", sa.Integer, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("is_break_glass", sa.Boolean, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("requested_at", TEXT, nullable=False),
        sa.Column("due_at", TEXT, nullable=False),
        sa.Column("decided_by", TEXT, nullable=False),
        sa.Column("decision_reason", TEXT, nullable=False),
        sa.Column("starts_at", TEXT),
        sa.Column("ends_at", TEXT),
        sa.Column("ended_by", TEXT, nullable=False),
        sa.Column("end_reason", TEXT, nullable=False),
        sa.Column("reviewed_at", TEXT),
        sa.Column("reviewed_by", TEXT, nullable=False),
        sa.Column("review", TEXT, nullable=False),
    )
    for column in ("project", "actor", "state"):
        op.create_index(f"ix_access_requests_{column}", "access_requests", [column])
    op.create_index(
        "access_requests_once",
        "access_requests",
        ["project", "actor", "environment", "role"],
        unique=True,
        sqlite_where=GOING_ON,
        postgresql_where=GOING_ON,
    )
