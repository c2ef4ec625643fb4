"""Legal holds are one resource: those on subjects, which were a table of their own, and those on what was written in a time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
ONCE = sa.text("lifted_at IS NULL AND subject_hash <> ''")
TAKEN_OVER = sa.text("origin <> ''")


def upgrade() -> None:
    op.create_table(
        "holds",
        sa.Column("hold_id", TEXT, primary_key=True),
        sa.Column("project", TEXT, sa.ForeignKey("projects.name"), nullable=False),
        sa.Column("kinds", sa.JSON, nullable=False),
        sa.Column("since", TEXT),
        sa.Column("until", TEXT),
        sa.Column("entity", TEXT, nullable=False),
        sa.Column("subject_hash", TEXT, nullable=False),
        sa.Column("matter", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("origin", TEXT, nullable=False),
        sa.Column("placed_at", TEXT, nullable=False),
        sa.Column("placed_by", TEXT, nullable=False),
        sa.Column("lift_asked_at", TEXT),
        sa.Column("lift_asked_by", TEXT, nullable=False),
        sa.Column("lift_reason", TEXT, nullable=False),
        sa.Column("lift_due_at", TEXT),
        sa.Column("lifted_at", TEXT),
        sa.Column("lifted_by", TEXT, nullable=False),
        sa.Column("decision_reason", TEXT, nullable=False),
    )
    op.create_index("ix_holds_project", "holds", ["project"])
    for name, columns, where in (
        ("holds_once", ["project", "entity", "subject_hash"], ONCE),
        ("holds_taken_over", ["project", "origin"], TAKEN_OVER),
    ):
        op.create_index(name, "holds", columns, unique=True, sqlite_where=where, postgresql_where=where)
    op.execute(
        "INSERT INTO holds (hold_id, project, kinds, entity, subject_hash, matter, reason, origin, placed_at, placed_by,"
        " lift_asked_by, lift_reason, lifted_at, lifted_by, decision_reason)"
        " SELECT hold_id, project, '[]', entity, subject_hash, '', reason, '', placed_at, placed_by,"
        " '', lift_reason, lifted_at, lifted_by, '' FROM erasure_holds"
    )
    op.drop_table("erasure_holds")
