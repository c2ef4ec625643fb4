"""Members of projects, and the roles that they have there by environment."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "members",
        sa.Column("project", TEXT, sa.ForeignKey("projects.name"), primary_key=True),
        sa.Column("actor", TEXT, primary_key=True),
        sa.Column("roles", sa.JSON, nullable=False),
        sa.Column("set_at", TEXT, nullable=False),
        sa.Column("set_by", TEXT, nullable=False),
    )
    op.create_index("ix_members_actor", "members", ["actor"])
