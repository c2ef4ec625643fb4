"""The ten tables of the first versions. A SQLite file that has some of them, made without revisions, keeps them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _tables_of_projects_and_runs()
    _tables_of_records()
    _tables_of_lineage()


def _text(name: str, *, nullable: bool = False, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column(name, TEXT, nullable=nullable, primary_key=primary_key)


def _project(*, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column("project", TEXT, sa.ForeignKey("projects.name"), nullable=False, primary_key=primary_key)


def _whole(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)


def _json(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.JSON, nullable=False)


def _create(name: str, *parts: sa.Column[Any] | sa.Constraint, indexes: tuple[str, ...] = ()) -> None:
    op.create_table(name, *parts, if_not_exists=True)
    for column in indexes:
        op.create_index(f"ix_{name}_{column}", name, [column], if_not_exists=True)


def _tables_of_projects_and_runs() -> None:
    _create(
        "projects",
        _text("name", primary_key=True),
        _text("owner"),
        _text("description"),
        sa.Column("monthly_budget_nanos", sa.BigInteger),
        _text("created_at"),
        _text("created_by"),
    )
    _create(
        "runs",
        _text("run_id", primary_key=True),
        _project(),
        _text("kind"),
        _text("environment"),
        _text("stage"),
        _text("requested_by"),
        _text("created_at"),
        _text("ended_at", nullable=True),
        _json("request"),
        _json("result"),
        _text("idempotency_key", nullable=True),
        sa.UniqueConstraint("requested_by", "idempotency_key"),
        indexes=("project",),
    )
    _create(
        "intents",
        _text("intent_id", primary_key=True),
        sa.Column("run_id", TEXT, sa.ForeignKey("runs.run_id"), nullable=False),
        _text("kind"),
        _text("actor"),
        _json("request"),
        _text("state"),
        _text("created_at"),
        _text("settled_at", nullable=True),
    )
    is_open = sa.text("state = 'open'")
    op.create_index(
        "intents_open",
        "intents",
        ["run_id", "kind"],
        unique=True,
        if_not_exists=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )


def _tables_of_records() -> None:
    _create(
        "audit",
        sa.Column("sequence", NUMBER, primary_key=True, autoincrement=False),
        _text("event_id"),
        _text("event_key", nullable=True),
        _text("at"),
        _text("actor"),
        _text("action"),
        _text("resource"),
        _text("outcome"),
        _text("detail"),
        _text("previous_hash"),
        _text("hash"),
        *(sa.UniqueConstraint(name) for name in ("event_id", "event_key", "previous_hash")),
        indexes=("resource",),
    )
    _create(
        "usage",
        _text("usage_key", primary_key=True),
        _project(),
        _text("run_id"),
        _text("service"),
        _text("started_at"),
        _whole("cost_nanos"),
        _text("currency"),
        _json("record"),
        _json("view"),
        indexes=("project", "run_id", "started_at"),
    )
    _create(
        "serving_usage",
        _text("usage_key", primary_key=True),
        _project(),
        *map(_text, ("environment", "endpoint", "model_version", "caller")),
        *map(_whole, ("requests", "predictions", "cpu_microseconds", "cost_nanos")),
        _text("started_at"),
        _json("record"),
        indexes=("project", "started_at"),
    )
    _create(
        "catalog",
        _project(primary_key=True),
        _text("name", primary_key=True),
        *map(_text, ("kind", "owner", "classification")),
        sa.Column("has_pii", sa.Boolean, nullable=False),
        _text("searched"),
        _text("updated_at"),
        _json("entry"),
    )


def _tables_of_lineage() -> None:
    _create(
        "lineage_events",
        _text("event_digest", primary_key=True),
        *map(_text, ("run_id", "job_namespace", "job_name", "event_type")),
        *map(_text, ("event_time", "received_at", "reported_by")),
        _json("event"),
        indexes=("run_id",),
    )
    _create(
        "lineage_nodes",
        sa.Column("id", NUMBER, primary_key=True),
        *map(_text, ("namespace", "name", "version", "column", "kind")),
        sa.UniqueConstraint("namespace", "name", "version", "column"),
    )
    _create(
        "lineage_edges",
        sa.Column("source", NUMBER, sa.ForeignKey("lineage_nodes.id"), primary_key=True),
        sa.Column("target", NUMBER, sa.ForeignKey("lineage_nodes.id"), primary_key=True),
        _text("job"),
        _text("run_id"),
        indexes=("target",),
    )
