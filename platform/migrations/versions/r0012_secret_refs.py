"""References to secrets: where each lies, and who said so. No secret is in them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "secret_refs",
        sa.Column("project", TEXT, sa.ForeignKey("projects.name"), primary_key=True),
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("place", TEXT, nullable=False),
        sa.Column("description", TEXT, nullable=False),
        sa.Column("set_at", TEXT, nullable=False),
        sa.Column("set_by", TEXT, nullable=False),
    )
