"""Idempotency keys of requests, and what was answered to the first of each."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "request_keys",
        sa.Column("actor", TEXT, primary_key=True),
        sa.Column("key", TEXT, primary_key=True),
        sa.Column("fingerprint", TEXT, nullable=False),
        sa.Column("reserved_at", TEXT, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("media_type", TEXT),
        sa.Column("body", TEXT),
    )
    op.create_index("ix_request_keys_reserved_at", "request_keys", ["reserved_at"])
