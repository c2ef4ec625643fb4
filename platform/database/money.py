"""What was used, what it cost, and what is kept free."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from mainspring.platform.database.metadata import TEXT, metadata

#: `billed_in`: the month, as `2026-11`, of what came after its own was closed; none: its own.
usage: Final = sa.Table(
    "usage",
    metadata,
    sa.Column("usage_key", TEXT, primary_key=True),
    sa.Column("project", sa.ForeignKey("projects.name"), nullable=False, index=True),
    sa.Column("run_id", TEXT, nullable=False, index=True),
    sa.Column("service", TEXT, nullable=False),
    sa.Column("started_at", TEXT, nullable=False, index=True),
    sa.Column("cost_nanos", sa.BigInteger, nullable=False),
    sa.Column("currency", TEXT, nullable=False),
    sa.Column("record", sa.JSON, nullable=False),
    sa.Column("view", sa.JSON, nullable=False),
    # The database's own, of `view`.
    sa.Column("environment", TEXT, sa.Computed("\"view\" ->> 'environment'")),
    # For what a budget asks of a period.
    sa.Index("usage_of_budgets", "project", "environment", "started_at", "cost_nanos"),
    sa.Column("billed_in", TEXT, index=True),
)

serving_usage: Final = sa.Table(
    "serving_usage",
    metadata,
    sa.Column("usage_key", TEXT, primary_key=True),
    sa.Column("project", sa.ForeignKey("projects.name"), nullable=False, index=True),
    sa.Column("environment", TEXT, nullable=False),
    sa.Column("endpoint", TEXT, nullable=False),
    sa.Column("model_version", TEXT, nullable=False),
    sa.Column("caller", TEXT, nullable=False),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("predictions", sa.BigInteger, nullable=False),
    sa.Column("cpu_microseconds", sa.BigInteger, nullable=False),
    sa.Column("cost_nanos", sa.BigInteger, nullable=False),
    sa.Column("started_at", TEXT, nullable=False, index=True),
    sa.Column("record", sa.JSON, nullable=False),
)

#: Gone when the run has ended; `lapses_at` for those that nobody ends.
reservations: Final = sa.Table(
    "reservations",
    metadata,
    sa.Column("run_id", sa.ForeignKey("runs.run_id"), primary_key=True),
    sa.Column("project", sa.ForeignKey("projects.name"), nullable=False, index=True),
    sa.Column("nanos", sa.BigInteger, nullable=False),
    sa.Column("lapses_at", TEXT, nullable=False),
)

#: For work that is no run. `work_id`: what the keys of its usage begin with; `nanos`: with all that it has used.
work_reservations: Final = sa.Table(
    "work_reservations",
    metadata,
    sa.Column("work_id", TEXT, primary_key=True),
    sa.Column("project", sa.ForeignKey("projects.name"), nullable=False, index=True),
    sa.Column("environment", TEXT, nullable=False),
    sa.Column("nanos", sa.BigInteger, nullable=False),
    sa.Column("lapses_at", TEXT, nullable=False),
)

#: What projects may spend; `reached` and `told` are the highest threshold that is spent and that somebody was told of, in the period
#: that `began` then.
budgets: Final = sa.Table(
    "budgets",
    metadata,
    sa.Column("project", sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("environment", TEXT, primary_key=True),
    sa.Column("period", TEXT, primary_key=True),
    sa.Column("amount_nanos", sa.BigInteger, nullable=False),
    sa.Column("is_hard", sa.Boolean, nullable=False),
    sa.Column("stop_endpoints", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("thresholds", sa.JSON, nullable=False),
    sa.Column("set_at", TEXT, nullable=False),
    sa.Column("set_by", TEXT, nullable=False),
    sa.Column("began", TEXT, nullable=False),
    sa.Column("reached", sa.Float, nullable=False),
    sa.Column("told", sa.Float, nullable=False),
)

#: What projects kept when they were last measured: bytes by place.
storage: Final = sa.Table(
    "storage",
    metadata,
    sa.Column("project", sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("measured_at", TEXT, nullable=False),
    sa.Column("stored", sa.JSON, nullable=False),
)
