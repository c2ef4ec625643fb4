"""Rows of the audit log are numbered and chained within their project, too; those from before are not."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.add_column("audit", sa.Column("project", TEXT))
    op.add_column("audit", sa.Column("project_sequence", NUMBER))
    op.add_column("audit", sa.Column("project_previous", TEXT))
    op.create_index("audit_of_project", "audit", ["project", "project_sequence"], unique=True)
