"""The control database: its tables, and one writer at a time on SQLite and on PostgreSQL alike.

SQLite in WAL mode: readers never wait. A writer begins with BEGIN IMMEDIATE, so what it read cannot change before it
commits, and two audit rows never follow the same one. On PostgreSQL an advisory lock says the same; readers have one
snapshot and cannot write. Money is integer billionths, times are ISO 8601 UTC text.

The tables here are what the code reads and writes; `platform/migrations/` makes them, and a test holds the two against
each other on both engines.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors
from mainspring.platform import engines, migrations
from mainspring.platform.audit import guards

#: Names that Alembic can tell from the database's.
metadata: Final = sa.MetaData()

#: Text that compares by code point on every engine: cursors and times rely on the order.
TEXT: Final = sa.String().with_variant(sa.String(collation="C"), "postgresql")
#: SQLite counts in 64 bits anyway, and numbers rows by itself only in a column of exactly this name.
NUMBER: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

projects: Final = sa.Table(
    "projects",
    metadata,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("owner", TEXT, nullable=False),
    sa.Column("description", TEXT, nullable=False),
    sa.Column("monthly_budget_nanos", sa.BigInteger),
    sa.Column("created_at", TEXT, nullable=False),
    sa.Column("created_by", TEXT, nullable=False),
    sa.Column("tags", sa.JSON),
)

#: `roles`: lists by environment; `*` is every environment.
members: Final = sa.Table(
    "members",
    metadata,
    sa.Column("project", sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("actor", TEXT, primary_key=True, index=True),
    sa.Column("roles", sa.JSON, nullable=False),
    sa.Column("set_at", TEXT, nullable=False),
    sa.Column("set_by", TEXT, nullable=False),
)

#: A name is of the whole platform, and of the project that first asked for it.
endpoints: Final = sa.Table(
    "endpoints",
    metadata,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("project", sa.ForeignKey("projects.name"), nullable=False, index=True),
    sa.Column("environment", TEXT, nullable=False),
    sa.Column("claimed_at", TEXT, nullable=False),
    sa.Column("claimed_by", TEXT, nullable=False),
)

#: Roles for a time, asked for, in force or over; `roles` as of members, one role in one place.
access_requests: Final = sa.Table(
    "access_requests",
    metadata,
    sa.Column("request_id", TEXT, primary_key=True),
    sa.Column("project", sa.ForeignKey("projects.name"), nullable=False, index=True),
    sa.Column("actor", TEXT, nullable=False, index=True),
    sa.Column("environment", TEXT, nullable=False),
    sa.Column("role", TEXT, nullable=False),
    sa.Column("roles", sa.JSON, nullable=False),
    sa.Column("minutes", sa.Integer, nullable=False),
    sa.Column("reason", TEXT, nullable=False),
    sa.Column("is_break_glass", sa.Boolean, nullable=False),
    sa.Column("state", TEXT, nullable=False, index=True),
    sa.Column("requested_at", TEXT, nullable=False),
    sa.Column("due_at", TEXT, nullable=False),
    sa.Column("decided_by", TEXT, nullable=False),
    sa.Column("decision_reason", TEXT, nullable=False),
    sa.Column("starts_at", TEXT),
    sa.Column("ends_at", TEXT),
    sa.Column("ended_by", TEXT, nullable=False),
    sa.Column("end_reason", TEXT, nullable=False),
    sa.Column("reviewed_at", TEXT),
    sa.Column("reviewed_by", TEXT, nullable=False),
    sa.Column("review", TEXT, nullable=False),
    # Nobody asks twice for what he has or has asked for.
    sa.Index(
        "access_requests_once",
        "project",
        "actor",
        "environment",
        "role",
        unique=True,
        sqlite_where=sa.text("state IN ('open', 'active')"),
        postgresql_where=sa.text("state IN ('open', 'active')"),
    ),
)

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

audit: Final = sa.Table(
    "audit",
    metadata,
    sa.Column("sequence", NUMBER, primary_key=True, autoincrement=False),
    sa.Column("event_id", TEXT, nullable=False, unique=True),
    sa.Column("event_key", TEXT, unique=True),
    sa.Column("at", TEXT, nullable=False),
    sa.Column("actor", TEXT, nullable=False),
    sa.Column("action", TEXT, nullable=False),
    sa.Column("resource", TEXT, nullable=False, index=True),
    sa.Column("outcome", TEXT, nullable=False),
    sa.Column("detail", TEXT, nullable=False),
    sa.Column("previous_hash", TEXT, nullable=False, unique=True),
    sa.Column("hash", TEXT, nullable=False),
    # NULL: of no project, or from before projects had chains.
    sa.Column("project", TEXT),
    sa.Column("project_sequence", NUMBER),
    sa.Column("project_previous", TEXT),
    sa.Index("audit_of_project", "project", "project_sequence", unique=True),
)

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

#: Requests by idempotency key; `status` is null while the first is under way.
request_keys: Final = sa.Table(
    "request_keys",
    metadata,
    sa.Column("actor", TEXT, primary_key=True),
    sa.Column("key", TEXT, primary_key=True),
    sa.Column("fingerprint", TEXT, nullable=False),
    sa.Column("reserved_at", TEXT, nullable=False, index=True),
    sa.Column("status", sa.Integer),
    sa.Column("media_type", TEXT),
    sa.Column("body", TEXT),
)

lineage_events: Final = sa.Table(
    "lineage_events",
    metadata,
    sa.Column("event_digest", TEXT, primary_key=True),
    sa.Column("run_id", TEXT, nullable=False, index=True),
    sa.Column("job_namespace", TEXT, nullable=False),
    sa.Column("job_name", TEXT, nullable=False),
    sa.Column("event_type", TEXT, nullable=False),
    sa.Column("event_time", TEXT, nullable=False),
    sa.Column("received_at", TEXT, nullable=False),
    sa.Column("reported_by", TEXT, nullable=False),
    sa.Column("event", sa.JSON, nullable=False),
)

#: A dataset of one version (`column` empty), or one of its columns.
lineage_nodes: Final = sa.Table(
    "lineage_nodes",
    metadata,
    sa.Column("id", NUMBER, primary_key=True),
    sa.Column("namespace", TEXT, nullable=False),
    sa.Column("name", TEXT, nullable=False),
    sa.Column("version", TEXT, nullable=False),
    sa.Column("column", TEXT, nullable=False),
    sa.Column("kind", TEXT, nullable=False),
    sa.UniqueConstraint("namespace", "name", "version", "column"),
)

#: Numbers only, so that a walk over a million of them stays in memory; `job` and `run_id` of who did it first.
lineage_edges: Final = sa.Table(
    "lineage_edges",
    metadata,
    sa.Column("source", sa.ForeignKey("lineage_nodes.id"), primary_key=True),
    sa.Column("target", sa.ForeignKey("lineage_nodes.id"), primary_key=True, index=True),
    sa.Column("job", TEXT, nullable=False),
    sa.Column("run_id", TEXT, nullable=False),
)

#: `searched` is the text of names, columns, description, tags and owner, case folded.
catalog: Final = sa.Table(
    "catalog",
    metadata,
    sa.Column("project", sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("owner", TEXT, nullable=False),
    sa.Column("classification", TEXT, nullable=False),
    sa.Column("has_pii", sa.Boolean, nullable=False),
    sa.Column("searched", TEXT, nullable=False),
    sa.Column("updated_at", TEXT, nullable=False),
    sa.Column("entry", sa.JSON, nullable=False),
)

#: Columns that may tell of persons: found, and decided about by a person.
classifications: Final = sa.Table(
    "classifications",
    metadata,
    sa.Column("project", sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("entry", TEXT, primary_key=True),
    sa.Column("column_name", TEXT, primary_key=True),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("classification", TEXT, nullable=False),
    sa.Column("confidence", sa.Float, nullable=False),
    sa.Column("reasons", sa.JSON, nullable=False),
    sa.Column("sampled_rows", sa.BigInteger, nullable=False),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("found_at", TEXT, nullable=False),
    sa.Column("found_by", TEXT, nullable=False),
    sa.Column("decided_at", TEXT),
    sa.Column("decided_by", TEXT, nullable=False),
    sa.Column("decision_reason", TEXT, nullable=False),
)

#: What a person said that an entry of the catalog may be used for; of one that nobody decided on there is no row.
purposes: Final = sa.Table(
    "purposes",
    metadata,
    sa.Column("project", sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("entry", TEXT, primary_key=True),
    sa.Column("purposes", sa.JSON, nullable=False),
    sa.Column("reason", TEXT, nullable=False),
    sa.Column("decided_at", TEXT, nullable=False),
    sa.Column("decided_by", TEXT, nullable=False),
)

#: Impact assessments; of a project at most one is open, and at most one signed.
dpias: Final = sa.Table(
    "dpias",
    metadata,
    sa.Column("dpia_id", TEXT, primary_key=True),
    sa.Column("project", sa.ForeignKey("projects.name"), nullable=False, index=True),
    sa.Column("digest", TEXT, nullable=False),
    sa.Column("answers", sa.JSON, nullable=False),
    sa.Column("risk", TEXT, nullable=False),
    sa.Column("score", sa.Integer, nullable=False),
    sa.Column("findings", sa.JSON, nullable=False),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("submitted_at", TEXT, nullable=False),
    sa.Column("submitted_by", TEXT, nullable=False),
    sa.Column("decided_at", TEXT),
    sa.Column("decided_by", TEXT, nullable=False),
    sa.Column("decision_reason", TEXT, nullable=False),
    sa.Column("valid_until", TEXT),
    *(
        sa.Index(f"dpias_{state}", "project", unique=True, sqlite_where=one, postgresql_where=one)
        for state, one in (("open", sa.text("state = 'open'")), ("signed", sa.text("state = 'signed'")))
    ),
)

#: Erasures; of a subject, which its keyed hash stands for, at most one is under way.
erasures: Final = sa.Table(
    "erasures",
    metadata,
    sa.Column("erasure_id", TEXT, primary_key=True),
    sa.Column("project", sa.ForeignKey("projects.name"), nullable=False, index=True),
    sa.Column("entity", TEXT, nullable=False),
    sa.Column("subject_hash", TEXT, nullable=False),
    sa.Column("ground", TEXT, nullable=False),
    sa.Column("reason", TEXT, nullable=False),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("requested_at", TEXT, nullable=False),
    sa.Column("requested_by", TEXT, nullable=False),
    sa.Column("decided_at", TEXT),
    sa.Column("decided_by", TEXT, nullable=False),
    sa.Column("decision_reason", TEXT, nullable=False),
    sa.Column("ended_at", TEXT),
    sa.Column("message", TEXT, nullable=False),
    sa.Column("rows_erased", sa.BigInteger, nullable=False),
    sa.Column("certificate", TEXT, nullable=False),
    sa.Index(
        "erasures_once",
        "project",
        "entity",
        "subject_hash",
        unique=True,
        sqlite_where=sa.text("state IN ('open', 'erasing')"),
        postgresql_where=sa.text("state IN ('open', 'erasing')"),
    ),
)

#: Legal holds: on what was written in a time, or on one subject, which its keyed hash stands for; on that at most one is in force.
#: `origin`: the digest of a hold that a retention's schedule had, which is taken over once.
holds: Final = sa.Table(
    "holds",
    metadata,
    sa.Column("hold_id", TEXT, primary_key=True),
    sa.Column("project", sa.ForeignKey("projects.name"), nullable=False, index=True),
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
    *(
        sa.Index(name, "project", *columns, unique=True, sqlite_where=where, postgresql_where=where)
        for name, columns, where in (
            ("holds_once", ("entity", "subject_hash"), sa.text("lifted_at IS NULL AND subject_hash <> ''")),
            ("holds_taken_over", ("origin",), sa.text("origin <> ''")),
        )
    ),
)

#: Billionths of epsilon that may be spent on a dataset, and each charge.
privacy_budgets: Final = sa.Table(
    "privacy_budgets",
    metadata,
    sa.Column("project", sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("dataset", TEXT, primary_key=True),
    sa.Column("nanos", sa.BigInteger, nullable=False),
    sa.Column("set_at", TEXT, nullable=False),
    sa.Column("set_by", TEXT, nullable=False),
)

#: Where secrets lie; no secret is in it.
secret_refs: Final = sa.Table(
    "secret_refs",
    metadata,
    sa.Column("project", sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("place", TEXT, nullable=False),
    sa.Column("description", TEXT, nullable=False),
    sa.Column("set_at", TEXT, nullable=False),
    sa.Column("set_by", TEXT, nullable=False),
)

#: Actors that are programs; of a secret there is its SHA-256. Their roles are those of `members`.
service_accounts: Final = sa.Table(
    "service_accounts",
    metadata,
    sa.Column("actor", TEXT, primary_key=True),
    sa.Column("project", sa.ForeignKey("projects.name"), nullable=False),
    sa.Column("name", TEXT, nullable=False),
    sa.Column("owner", TEXT, nullable=False),
    sa.Column("description", TEXT, nullable=False),
    sa.Column("secret_sha256", TEXT, nullable=False),
    sa.Column("created_at", TEXT, nullable=False),
    sa.Column("created_by", TEXT, nullable=False),
    sa.Column("rotated_at", TEXT, nullable=False),
    sa.Column("disabled_at", TEXT),
    sa.Column("last_used_on", TEXT, nullable=False),
    sa.Index("service_accounts_of_project", "project", "name", unique=True),
)

#: Their tokens, by SHA-256; empty `roles`, `environment`: all that the account has.
service_account_tokens: Final = sa.Table(
    "service_account_tokens",
    metadata,
    sa.Column("token_sha256", TEXT, primary_key=True),
    sa.Column("actor", sa.ForeignKey("service_accounts.actor"), nullable=False, index=True),
    sa.Column("roles", sa.JSON, nullable=False),
    sa.Column("environment", TEXT, nullable=False),
    sa.Column("expires_at", TEXT, nullable=False),
)

#: What projects may have at once; NULL: as settings say.
quotas: Final = sa.Table(
    "quotas",
    metadata,
    sa.Column("project", sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("max_open_runs", sa.Integer),
    sa.Column("max_workers", sa.Integer),
    sa.Column("max_endpoints", sa.Integer),
    sa.Column("max_storage_mib", sa.Integer),
    sa.Column("set_at", TEXT, nullable=False),
    sa.Column("set_by", TEXT, nullable=False),
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

privacy_spends: Final = sa.Table(
    "privacy_spends",
    metadata,
    sa.Column("project", sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("spend_key", TEXT, primary_key=True),
    sa.Column("dataset", TEXT, nullable=False, index=True),
    sa.Column("nanos", sa.BigInteger, nullable=False),
    sa.Column("question", TEXT, nullable=False),
    sa.Column("column_name", TEXT, nullable=False),
    sa.Column("spent_at", TEXT, nullable=False),
    sa.Column("spent_by", TEXT, nullable=False),
)

#: What checks of served models found; `report` is whole, `alerts` the ids of those that it raised or met again.
monitor_reports: Final = sa.Table(
    "monitor_reports",
    metadata,
    sa.Column("report_id", TEXT, primary_key=True),
    sa.Column("digest", TEXT, nullable=False),
    sa.Column("project", sa.ForeignKey("projects.name"), nullable=False, index=True),
    sa.Column("environment", TEXT, nullable=False),
    sa.Column("endpoint", TEXT, nullable=False, index=True),
    sa.Column("bundle_digest", TEXT, nullable=False, index=True),
    sa.Column("training_run_id", TEXT, nullable=False),
    sa.Column("begins", TEXT, nullable=False),
    sa.Column("ends", TEXT, nullable=False),
    sa.Column("recorded_at", TEXT, nullable=False),
    sa.Column("made_by", TEXT, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("known", sa.BigInteger, nullable=False),
    sa.Column("alarms", sa.Integer, nullable=False),
    sa.Column("notices", sa.Integer, nullable=False),
    sa.Column("html_digest", TEXT, nullable=False),
    sa.Column("alerts", sa.JSON, nullable=False),
    sa.Column("report", sa.JSON, nullable=False),
    sa.UniqueConstraint("project", "digest"),
)

#: `found_ends`: the end of the newest window that had the finding; `last_ends`: of the newest that said anything of it.
alerts: Final = sa.Table(
    "alerts",
    metadata,
    sa.Column("alert_id", TEXT, primary_key=True),
    sa.Column("project", sa.ForeignKey("projects.name"), nullable=False, index=True),
    sa.Column("environment", TEXT, nullable=False),
    sa.Column("endpoint", TEXT, nullable=False, index=True),
    sa.Column("fingerprint", TEXT, nullable=False, index=True),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("subject", TEXT, nullable=False),
    sa.Column("state", TEXT, nullable=False, index=True),
    sa.Column("severity", TEXT, nullable=False),
    sa.Column("message", TEXT, nullable=False),
    sa.Column("value", sa.Float, nullable=False),
    sa.Column("limit", sa.Float, nullable=False),
    sa.Column("rule", TEXT, nullable=False),
    sa.Column("runbook", TEXT, nullable=False),
    sa.Column("opened_at", TEXT, nullable=False),
    sa.Column("last_seen_at", TEXT, nullable=False),
    sa.Column("last_ends", TEXT, nullable=False),
    sa.Column("found_ends", TEXT, nullable=False),
    sa.Column("times", sa.Integer, nullable=False),
    sa.Column("report_id", sa.ForeignKey("monitor_reports.report_id"), nullable=False),
    sa.Column("bundle_digest", TEXT, nullable=False),
    sa.Column("acknowledged_at", TEXT),
    sa.Column("acknowledged_by", TEXT, nullable=False),
    sa.Column("resolved_at", TEXT),
    sa.Column("resolved_by", TEXT, nullable=False),
    sa.Column("reason", TEXT, nullable=False),
    # Of one finding about one thing at most one is to be seen to.
    sa.Index(
        "alerts_once",
        "fingerprint",
        unique=True,
        sqlite_where=sa.text("state IN ('open', 'acknowledged')"),
        postgresql_where=sa.text("state IN ('open', 'acknowledged')"),
    ),
)

alert_events: Final = sa.Table(
    "alert_events",
    metadata,
    sa.Column("event_id", TEXT, primary_key=True),
    sa.Column("alert_id", sa.ForeignKey("alerts.alert_id"), nullable=False, index=True),
    sa.Column("at", TEXT, nullable=False),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("by", TEXT, nullable=False),
    sa.Column("detail", sa.JSON, nullable=False),
)

#: Who is still to be told of what happened to an alert; `state`: due, delivered or given-up.
alert_deliveries: Final = sa.Table(
    "alert_deliveries",
    metadata,
    sa.Column("delivery_id", TEXT, primary_key=True),
    sa.Column("event_id", sa.ForeignKey("alert_events.event_id"), nullable=False),
    sa.Column("alert_id", sa.ForeignKey("alerts.alert_id"), nullable=False, index=True),
    sa.Column("project", sa.ForeignKey("projects.name"), nullable=False),
    sa.Column("receiver", sa.JSON, nullable=False),
    sa.Column("channel", TEXT, nullable=False),
    sa.Column("state", TEXT, nullable=False, index=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due_at", TEXT, nullable=False),
    sa.Column("error", TEXT, nullable=False),
)

#: Every version that was put; the last is in force.
alert_rules: Final = sa.Table(
    "alert_rules",
    metadata,
    sa.Column("project", sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("document", sa.JSON, nullable=False),
    sa.Column("put_at", TEXT, nullable=False),
    sa.Column("put_by", TEXT, nullable=False),
)

#: What the policies answered about reads, counted by the hour; `project` is empty for all of them, and `*` for more than are told apart.
read_decisions: Final = sa.Table(
    "read_decisions",
    metadata,
    sa.Column("decision_key", TEXT, primary_key=True),
    sa.Column("first_at", TEXT, nullable=False, index=True),
    sa.Column("last_at", TEXT, nullable=False, index=True),
    sa.Column("actor", TEXT, nullable=False),
    sa.Column("action", TEXT, nullable=False),
    sa.Column("project", TEXT, nullable=False, index=True),
    sa.Column("allowed", sa.Boolean, nullable=False),
    sa.Column("policies", sa.JSON, nullable=False),
    sa.Column("version", TEXT, nullable=False),
    sa.Column("asked", sa.JSON, nullable=False),
    sa.Column("is_sensitive", sa.Boolean, nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
)


class Database:
    """One engine. Safe for concurrent tasks of one event loop; several processes may share the database."""

    def __init__(self, url: str) -> None:
        """Errors: InvalidSettings for another database than SQLite or PostgreSQL, by another driver than ours."""
        self.url = url
        self._engine = engines.create(url)
        # Tasks of one process queue here: neither by SQLite's polling, nor each with a connection of its own.
        self._writers = asyncio.Lock()

    async def open(self) -> None:
        """Bring SQLite's file to the newest revision; see to it that PostgreSQL is at it, and may be trusted.

        Errors: Misconfigured, with the command that mends it.
        """
        if engines.is_sqlite(self.url):
            engines.make_folder(self.url)
            async with self._begin_writing() as connection:
                await connection.run_sync(migrations.upgrade)
            return
        async with self.read() as connection:
            await connection.run_sync(migrations.require_head)
            await connection.run_sync(migrations.require_app_role)

    async def close(self) -> None:
        await self._engine.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """One consistent snapshot."""
        async with engines.begin_reading(self._engine) as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One writing transaction: commits at the end, rolls back on any error. Only `mutation.py` calls this.

        Errors: Overloaded if another writer does not end in time; InvariantViolated if the database refused the commit
        because no audit row came with the change.
        """
        try:
            async with self._writers, self._begin_writing() as connection:
                yield connection
        except exc.IntegrityError as error:
            if not guards.is_refusal(error):
                raise
            raise errors.InvariantViolated(
                "the database refused a change that is not on record", where="platform.audit.guards"
            ) from error

    @asynccontextmanager
    async def _begin_writing(self) -> AsyncIterator[AsyncConnection]:
        async with engines.begin_writing(self._engine) as connection:
            yield connection


def insert(connection: AsyncConnection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An insert that knows `on_conflict_do_nothing` and `on_conflict_do_update`, in the words of this engine."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
