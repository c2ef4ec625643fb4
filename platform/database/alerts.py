"""What is found out about models in use, and whom it is told."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from mainspring.platform.database.metadata import TEXT, metadata

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
