"""What is kept free for work that is no run; and the environment of usage, which budgets ask for, in a column of its own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    # Made of what every row has: those from before have it at once, and no guard asks whether that is on record. SQLite adds
    # none that it keeps, and keeps it in the index.
    is_kept = True if op.get_bind().dialect.name == "postgresql" else None
    environment = sa.Computed("\"view\" ->> 'environment'", persisted=is_kept)
    op.add_column("usage", sa.Column("environment", TEXT, environment))
    op.create_index("usage_of_budgets", "usage", ["project", "environment", "started_at", "cost_nanos"])
    op.create_table(
        "work_reservations",
        sa.Column("work_id", TEXT, primary_key=True),
        sa.Column("project", TEXT, sa.ForeignKey("projects.name"), nullable=False),
        sa.Column("environment", TEXT, nullable=False),
        sa.Column("nanos", sa.BigInteger, nullable=False),
        sa.Column("lapses_at", TEXT, nullable=False),
    )
    op.create_index("ix_work_reservations_project", "work_reservations", ["project"])
