"""Service accounts and their tokens. Of secrets and tokens there is the SHA-256."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "service_accounts",
        sa.Column("actor", TEXT, primary_key=True),
        sa.Column("project", TEXT, sa.ForeignKey("projects.name"), nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("description", TEXT, nullable=False),
        sa.Column("secret_sha256", TEXT, nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
        sa.Column("rotated_at", TEXT, nullable=False),
        sa.Column("disabled_at", TEXT),
        sa.Column("last_used_on", TEXT, nullable=False),
    )
    op.create_index("service_accounts_of_project", "service_accounts", ["project", "name"], unique=True)
    op.create_table(
        "service_account_tokens",
        sa.Column("token_sha256", TEXT, primary_key=True),
        sa.Column("actor", TEXT, sa.ForeignKey("service_accounts.actor"), nullable=False),
        sa.Column("roles", sa.JSON, nullable=False),
        sa.Column("environment", TEXT, nullable=False),
        sa.Column("expires_at", TEXT, nullable=False),
    )
    op.create_index("ix_service_account_tokens_actor", "service_account_tokens", ["actor"])
