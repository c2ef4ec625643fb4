"""Rows of reports, alerts, what happened to alerts, and rules."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import canonical, errors, ids
from mainspring.core.contracts import alerts
from mainspring.core.contracts.alerts import AlertState
from mainspring.platform import database

reports: Final = database.monitor_reports
kept: Final = database.alerts
events: Final = database.alert_events
deliveries: Final = database.alert_deliveries
rules: Final = database.alert_rules

#: Of an `opened` event: who put the rule in force by which it asks for a retraining.
RETRAIN: Final = "retrain"
#: What somebody may still have to see to.
UNRESOLVED: Final = (str(AlertState.OPEN), str(AlertState.ACKNOWLEDGED))


async def add_report(
    connection: AsyncConnection, record: alerts.ReportRecord, *, now: datetime
) -> tuple[sa.Row[Any], bool]:
    """The report's row, and whether it is new: the same content is one report."""
    report = record.report
    body = report.model_dump(mode="json")
    digest = canonical.digest(body)
    known = sa.select(reports).where(reports.c.project == report.project, reports.c.digest == digest)
    if (row := (await connection.execute(known)).one_or_none()) is not None:
        return row, False
    report_id = ids.new_id("report")
    await connection.execute(
        sa.insert(reports).values(
            report_id=report_id,
            digest=digest,
            project=report.project,
            environment=report.environment,
            endpoint=report.endpoint,
            bundle_digest=report.bundle_digest,
            training_run_id=report.training_run_id,
            begins=report.begins.isoformat(),
            ends=report.ends.isoformat(),
            recorded_at=now.isoformat(),
            made_by=record.made_by,
            rows=report.rows,
            known=report.known,
            alarms=len(report.alarms),
            notices=len(report.findings) - len(report.alarms),
            html_digest=record.html_digest,
            alerts=[],
            report=body,
        )
    )
    return await find_report(connection, report_id), True


async def set_alerts_of(connection: AsyncConnection, report_id: str, found: Sequence[str]) -> None:
    await connection.execute(
        sa.update(reports).where(reports.c.report_id == report_id).values(alerts=list(found))
    )


async def find_report(connection: AsyncConnection, report_id: str) -> sa.Row[Any]:
    """Errors: NotFound."""
    row = (await connection.execute(sa.select(reports).where(reports.c.report_id == report_id))).one_or_none()
    if row is None:
        raise unknown_report(report_id)
    return row


def unknown_report(report_id: str) -> errors.NotFound:
    """What is said of a report that is not there, or that somebody may not know of."""
    return errors.NotFound(
        f"no report `{report_id}`; see `mainspring monitor list` for those there are",
        resource="monitoring report",
        name=report_id,
    )


async def report_page(
    connection: AsyncConnection,
    *,
    visible: Collection[str] | None,
    endpoint: str,
    bundle_digest: str,
    before: str,
    limit: int,
) -> Sequence[sa.Row[Any]]:
    """Newest first: ids sort by time."""
    columns = [c for c in reports.c if c.name != "report"]
    query = sa.select(*columns)
    if visible is not None:
        query = query.where(reports.c.project.in_(visible))
    if endpoint:
        query = query.where(reports.c.endpoint == endpoint)
    if bundle_digest:
        query = query.where(reports.c.bundle_digest == bundle_digest)
    if before:
        query = query.where(reports.c.report_id < before)
    return (await connection.execute(query.order_by(reports.c.report_id.desc()).limit(limit))).all()


def report_view(row: sa.Row[Any], retrain: alerts.Retraining | None = None) -> alerts.ReportView:
    return alerts.ReportView.model_validate({**row._mapping, "retrain": retrain})


async def retraining_of(connection: AsyncConnection, row: sa.Row[Any]) -> alerts.Retraining | None:
    """What the alerts that this report opened ask for: as their rules said then, however often it is asked."""
    query = sa.select(events.c.alert_id, events.c.detail).where(
        events.c.alert_id.in_(row.alerts), events.c.kind == "opened"
    )
    opened = (await connection.execute(query.order_by(events.c.event_id))).all()
    asking = [e for e in opened if RETRAIN in e.detail and e.detail["report_id"] == row.report_id]
    if not asking:
        return None
    return alerts.Retraining(
        alerts=tuple(e.alert_id for e in asking), asked_by=str(asking[0].detail[RETRAIN])
    )


async def find_alert(connection: AsyncConnection, alert_id: str) -> sa.Row[Any]:
    """Errors: NotFound."""
    row = await look_up_alert(connection, alert_id)
    if row is None:
        raise unknown_alert(alert_id)
    return row


async def look_up_alert(connection: AsyncConnection, alert_id: str) -> sa.Row[Any] | None:
    return (await connection.execute(sa.select(kept).where(kept.c.alert_id == alert_id))).one_or_none()


def unknown_alert(alert_id: str) -> errors.NotFound:
    """What is said of an alert that is not there, or that somebody may not know of."""
    return errors.NotFound(
        f"no alert `{alert_id}`; see `mainspring alert list` for those there are",
        resource="alert",
        name=alert_id,
    )


async def newest_of(connection: AsyncConnection, fingerprint: str) -> sa.Row[Any] | None:
    """The last alert of that fingerprint, resolved or not."""
    query = sa.select(kept).where(kept.c.fingerprint == fingerprint).order_by(kept.c.alert_id.desc()).limit(1)
    return (await connection.execute(query)).one_or_none()


async def unresolved_of(
    connection: AsyncConnection, project: str, environment: str, endpoint: str
) -> Sequence[sa.Row[Any]]:
    query = sa.select(kept).where(
        kept.c.project == project,
        kept.c.environment == environment,
        kept.c.endpoint == endpoint,
        kept.c.state.in_(UNRESOLVED),
    )
    return (await connection.execute(query.order_by(kept.c.alert_id))).all()


async def insert_alert(connection: AsyncConnection, **values: Any) -> str:
    alert_id = ids.new_id("alert")
    empty = {"acknowledged_by": "", "resolved_by": "", "reason": "", "times": 1}
    await connection.execute(sa.insert(kept).values(**empty, **values, alert_id=alert_id))
    return alert_id


async def update_alert(connection: AsyncConnection, alert_id: str, **values: Any) -> None:
    await connection.execute(sa.update(kept).where(kept.c.alert_id == alert_id).values(**values))


async def add_event(
    connection: AsyncConnection, alert_id: str, kind: str, *, by: str, at: datetime, detail: dict[str, Any]
) -> str:
    """What happened to an alert; answers the event's id."""
    event_id = ids.new_id("event")
    await connection.execute(
        sa.insert(events).values(
            event_id=event_id, alert_id=alert_id, at=at.isoformat(), kind=kind, by=by, detail=detail
        )
    )
    return event_id


async def add_deliveries(
    connection: AsyncConnection,
    project: str,
    alert_id: str,
    event_id: str,
    receivers: Sequence[alerts.Receiver],
    *,
    at: datetime,
) -> None:
    """One for each receiver and channel, as the receiver is now: rules may change before it is told."""
    for receiver in receivers:
        channels = [c for c, has in (("webhook", receiver.webhook), ("email", receiver.email)) if has]
        for channel in channels:
            await connection.execute(
                sa.insert(deliveries).values(
                    delivery_id=ids.new_id("delivery"),
                    event_id=event_id,
                    alert_id=alert_id,
                    project=project,
                    receiver=receiver.model_dump(mode="json"),
                    channel=channel,
                    state="due",
                    attempts=0,
                    due_at=at.isoformat(),
                    error="",
                )
            )


async def due_deliveries(connection: AsyncConnection, *, now: datetime, limit: int) -> Sequence[sa.Row[Any]]:
    """Those to be tried now, longest due first."""
    query = sa.select(deliveries).where(deliveries.c.state == "due", deliveries.c.due_at <= now.isoformat())
    return (await connection.execute(query.order_by(deliveries.c.due_at).limit(limit))).all()


async def update_delivery(connection: AsyncConnection, delivery_id: str, **values: Any) -> bool:
    """Whether it was still due: two processes may have tried it."""
    query = sa.update(deliveries).where(deliveries.c.delivery_id == delivery_id, deliveries.c.state == "due")
    return bool((await connection.execute(query.values(**values))).rowcount)


async def find_event(connection: AsyncConnection, event_id: str) -> sa.Row[Any]:
    return (await connection.execute(sa.select(events).where(events.c.event_id == event_id))).one()


async def history(connection: AsyncConnection, alert_id: str) -> tuple[alerts.AlertEvent, ...]:
    query = sa.select(events).where(events.c.alert_id == alert_id).order_by(events.c.event_id)
    return tuple(
        alerts.AlertEvent.model_validate(row._mapping) for row in (await connection.execute(query)).all()
    )


async def alert_page(
    connection: AsyncConnection,
    *,
    visible: Collection[str] | None,
    state: AlertState | None,
    endpoint: str,
    before: str,
    limit: int,
) -> Sequence[sa.Row[Any]]:
    """Newest first: ids sort by time."""
    query = sa.select(kept)
    if visible is not None:
        query = query.where(kept.c.project.in_(visible))
    if state is not None:
        query = query.where(kept.c.state == str(state))
    if endpoint:
        query = query.where(kept.c.endpoint == endpoint)
    if before:
        query = query.where(kept.c.alert_id < before)
    return (await connection.execute(query.order_by(kept.c.alert_id.desc()).limit(limit))).all()


def alert_view(row: sa.Row[Any], history: tuple[alerts.AlertEvent, ...] = ()) -> alerts.AlertView:
    return alerts.AlertView.model_validate({**row._mapping, "history": history})


async def rules_in_force(connection: AsyncConnection, project: str) -> alerts.RulesView:
    """The last that were put; the default where none were."""
    query = sa.select(rules).where(rules.c.project == project).order_by(rules.c.version.desc()).limit(1)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return alerts.RulesView(project=project, version=0, rules=alerts.AlertRules())
    return alerts.RulesView(
        project=project,
        version=row.version,
        rules=alerts.AlertRules.model_validate(row.document),
        put_at=datetime.fromisoformat(row.put_at),
        put_by=row.put_by,
    )


async def put_rules(
    connection: AsyncConnection,
    project: str,
    version: int,
    document: dict[str, Any],
    *,
    by: str,
    at: datetime,
) -> None:
    await connection.execute(
        sa.insert(rules).values(
            project=project, version=version, document=document, put_at=at.isoformat(), put_by=by
        )
    )


def is_over(row: sa.Row[Any]) -> errors.Conflict:
    """What is said to whoever sees to a resolved alert."""
    return errors.Conflict(
        f"alert `{row.alert_id}` was resolved at {row.resolved_at} by `{row.resolved_by}`; if it is found again it opens again",
        resource="alert",
        name=row.alert_id,
    )
