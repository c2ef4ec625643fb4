"""Monitoring: reports of served models, their alerts, what happened to them, who is told, and the rules."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
UNRESOLVED = sa.text("state IN ('open', 'acknowledged')")


def upgrade() -> None:
    op.create_table(
        "monitor_reports",
        sa.Column("report_id", TEXT, primary_key=True),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("project", TEXT, sa.ForeignKey("projects.name"), nullable=False),
        sa.Column("environment", TEXT, nullable=False),
        sa.Column("endpoint", TEXT, nullable=False),
        sa.Column("bundle_digest", TEXT, nullable=False),
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
    op.create_index("ix_monitor_reports_project", "monitor_reports", ["project"])
    op.create_index("ix_monitor_reports_endpoint", "monitor_reports", ["endpoint"])
    op.create_index("ix_monitor_reports_bundle_digest", "monitor_reports", ["bundle_digest"])
    op.create_table(
        "alerts",
        sa.Column("alert_id", TEXT, primary_key=True),
        sa.Column("project", TEXT, sa.ForeignKey("projects.name"), nullable=False),
        sa.Column("environment", TEXT, nullable=False),
        sa.Column("endpoint", TEXT, nullable=False),
        sa.Column("fingerprint", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
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
        sa.Column("report_id", TEXT, sa.ForeignKey("monitor_reports.report_id"), nullable=False),
        sa.Column("bundle_digest", TEXT, nullable=False),
        sa.Column("acknowledged_at", TEXT),
        sa.Column("acknowledged_by", TEXT, nullable=False),
        sa.Column("resolved_at", TEXT),
        sa.Column("resolved_by", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
    )
    op.create_index("ix_alerts_project", "alerts", ["project"])
    op.create_index("ix_alerts_endpoint", "alerts", ["endpoint"])
    op.create_index("ix_alerts_fingerprint", "alerts", ["fingerprint"])
    op.create_index("ix_alerts_state", "alerts", ["state"])
    op.create_index(
        "alerts_once",
        "alerts",
        ["fingerprint"],
        unique=True,
        sqlite_where=UNRESOLVED,
        postgresql_where=UNRESOLVED,
    )
    op.create_table(
        "alert_events",
        sa.Column("event_id", TEXT, primary_key=True),
        sa.Column("alert_id", TEXT, sa.ForeignKey("alerts.alert_id"), nullable=False),
        sa.Column("at", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("by", TEXT, nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
    )
    op.create_index("ix_alert_events_alert_id", "alert_events", ["alert_id"])
    op.create_table(
        "alert_deliveries",
        sa.Column("delivery_id", TEXT, primary_key=True),
        sa.Column("event_id", TEXT, sa.ForeignKey("alert_events.event_id"), nullable=False),
        sa.Column("alert_id", TEXT, sa.ForeignKey("alerts.alert_id"), nullable=False),
        sa.Column("project", TEXT, sa.ForeignKey("projects.name"), nullable=False),
        sa.Column("receiver", sa.JSON, nullable=False),
        sa.Column("channel", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", TEXT, nullable=False),
        sa.Column("error", TEXT, nullable=False),
    )
    op.create_index("ix_alert_deliveries_alert_id", "alert_deliveries", ["alert_id"])
    op.create_index("ix_alert_deliveries_state", "alert_deliveries", ["state"])
    op.create_table(
        "alert_rules",
        sa.Column("project", TEXT, sa.ForeignKey("projects.name"), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("document", sa.JSON, nullable=False),
        sa.Column("put_at", TEXT, nullable=False),
        sa.Column("put_by", TEXT, nullable=False),
    )
