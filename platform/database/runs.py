"""Runs and what is still to be done about them."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from mainspring.platform.database.metadata import TEXT, metadata

runs: Final = sa.Table(
    "runs",
    metadata,
    sa.Column("run_id", TEXT, primary_key=True),
    sa.Column("project", sa.ForeignKey("projects.name"), nullable=False, index=True),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("environment", TEXT, nullable=False),
    sa.Column("stage", TEXT, nullable=False),
    sa.Column("requested_by", TEXT, nullable=False),
    sa.Column("created_at", TEXT, nullable=False),
    sa.Column("ended_at", TEXT),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("result", sa.JSON, nullable=False),
    sa.Column("idempotency_key", TEXT),
    # What it may cost since it was resumed; NULL: what `request` says.
    sa.Column("max_cost_nanos", sa.BigInteger),
    # NULLs are distinct: runs without a key never collide.
    sa.UniqueConstraint("requested_by", "idempotency_key"),
)

intents: Final = sa.Table(
    "intents",
    metadata,
    sa.Column("intent_id", TEXT, primary_key=True),
    sa.Column("run_id", sa.ForeignKey("runs.run_id"), nullable=False),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("actor", TEXT, nullable=False),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("created_at", TEXT, nullable=False),
    sa.Column("settled_at", TEXT),
    # At most one is under way of each kind and run.
    sa.Index(
        "intents_open",
        "run_id",
        "kind",
        unique=True,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    ),
)
