"""Put reports on record with the alerts they call for, show both, see to alerts, and put rules in force."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import canonical, errors, identity
from mainspring.core.contracts import alerts, base, control
from mainspring.core.contracts.alerts import AlertState
from mainspring.core.monitoring import pages
from mainspring.core.protection import showing
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.endpoints import store as endpoint_store
from mainspring.platform.http import versions
from mainspring.platform.monitoring import raising, store
from mainspring.platform.projects import store as project_store
from mainspring.platform.protection import masking_service

_VERBS: Final = {AlertState.ACKNOWLEDGED: "alert.acknowledge", AlertState.RESOLVED: "alert.resolve"}


async def record(
    plane: control_plane.ControlPlane, credential: str, record: alerts.ReportRecord
) -> alerts.ReportView:
    """Put a report on record and raise its alerts, or neither. Role: service. The same report again changes nothing.

    Errors: NotFound for the project; Conflict for an endpoint of another one.
    """

    async def do(connection: AsyncConnection, by: identity.Actor) -> mutation.Change[alerts.ReportView]:
        await project_store.find(connection, record.report.project)
        # Alerts, mails and the log are read by many: what is not for everybody is a token from here on.
        shown = await masking_service.on_record(plane, connection, record.report.project)
        report = showing.report(record.report, shown)
        await endpoint_store.check_not_foreign(connection, report.endpoint, report.project)
        now = base.utc_now()
        row, is_new = await store.add_report(
            connection, record.model_copy(update={"report": report}), now=now
        )
        if not is_new:
            view = store.report_view(row, await store.retraining_of(connection, row))
            return mutation.Change(view, _report(row), is_new=False)
        rules = await store.rules_in_force(connection, report.project)
        done = await raising.raise_alerts(connection, report, row.report_id, rules, by=by.name, now=now)
        await store.set_alerts_of(connection, row.report_id, done.ids)
        row = await store.find_report(connection, row.report_id)
        detail = {
            "digest": row.digest,
            "endpoint": report.endpoint,
            "bundle_digest": report.bundle_digest,
            "window": [row.begins, row.ends],
            "alarms": [f.message for f in report.alarms][:20],
            "alerts": done.told(),
            "rules": rules.version,
        }
        view = store.report_view(row, await store.retraining_of(connection, row))
        return mutation.Change(view, _report(row), detail)

    return await mutation.mutate(
        plane,
        credential,
        action="monitor.record",
        resource=f"monitoring/{record.report.project}",
        on=access.project(record.report.project),
        do=do,
    )


async def show_report(
    plane: control_plane.ControlPlane, credential: str, report_id: str
) -> alerts.ReportView:
    """Errors: NotFound, also for one of a project that must not be known of."""
    view, shown = await _report_for(plane, credential, report_id)
    return view.model_copy(update={"report": view.report and showing.report(view.report, shown)})


async def _report_for(
    plane: control_plane.ControlPlane, credential: str, report_id: str
) -> tuple[alerts.ReportView, showing.Shown]:
    async with reads.reading(plane, credential, action="monitor.read") as reader:
        row = await store.find_report(reader.connection, report_id)
        if not reader.may(row.project):
            raise store.unknown_report(report_id)
        shown = await masking_service.shown_to(plane, reader, row.project, row.environment)
        return store.report_view(row, await store.retraining_of(reader.connection, row)), shown


async def show_page(plane: control_plane.ControlPlane, credential: str, report_id: str) -> bytes:
    """The page that a report's check left: whole, or not at all, as it has values.

    Errors: those of :func:`show_report` and `pages.read`; NotFound if it left none; PermissionDenied for who does not see one of its
    columns as it is.
    """
    found, shown = await _report_for(plane, credential, report_id)
    columns = found.report.columns if found.report is not None else ()
    if hidden := [f"`{c.name}`" for c in columns if shown.hides(c.name)]:
        raise errors.PermissionDenied(
            f"the page of report `{report_id}` has values of {', '.join(hidden[:3])}, which policies do not show you as they"
            " are; read the report itself, which has them masked",
            action="data.see",
        )
    if not found.html_digest:
        raise errors.NotFound(
            f"the check of report `{report_id}` left no page: it had too few rows, or `html=false`",
            resource="report page",
            name=report_id,
        )
    return await asyncio.to_thread(pages.read, plane.monitor.reports_dir, found.html_digest)


async def read_reports(
    plane: control_plane.ControlPlane,
    credential: str,
    *,
    project: str,
    endpoint: str,
    bundle_digest: str,
    before: str,
    limit: int,
) -> control.Page:
    """A page of reports without their contents, newest first. Errors: NotFound for the project."""
    async with reads.reading(plane, credential, action="monitor.read") as reader:
        rows = await store.report_page(
            reader.connection,
            visible=await reader.projects(project),
            endpoint=endpoint,
            bundle_digest=bundle_digest,
            before=before,
            limit=limit + 1,
        )
    items = [store.report_view(row).model_dump(mode="json", exclude={"report"}) for row in rows[:limit]]
    return control.Page(items=items, next=rows[limit - 1].report_id if len(rows) > limit else "")


async def show_alert(plane: control_plane.ControlPlane, credential: str, alert_id: str) -> alerts.AlertView:
    """An alert with its history. Errors: NotFound."""
    async with reads.reading(plane, credential, action="alert.read") as reader:
        row = await store.find_alert(reader.connection, alert_id)
        if not reader.may(row.project):
            raise store.unknown_alert(alert_id)
        shown = await masking_service.shown_to(plane, reader, row.project, row.environment)
        return _shown(store.alert_view(row, await store.history(reader.connection, alert_id)), shown)


async def read_alerts(
    plane: control_plane.ControlPlane,
    credential: str,
    *,
    project: str,
    state: AlertState | None,
    endpoint: str,
    before: str,
    limit: int,
) -> control.Page:
    """A page of alerts without their history, newest first. Errors: NotFound for the project."""
    async with reads.reading(plane, credential, action="alert.read") as reader:
        rows = await store.alert_page(
            reader.connection,
            visible=await reader.projects(project),
            state=state,
            endpoint=endpoint,
            before=before,
            limit=limit + 1,
        )
        places = {(row.project, row.environment) for row in rows}
        shown = {place: await masking_service.shown_to(plane, reader, *place) for place in places}
    views = [_shown(store.alert_view(row), shown[row.project, row.environment]) for row in rows[:limit]]
    items = [view.model_dump(mode="json", exclude={"history"}) for view in views]
    return control.Page(items=items, next=rows[limit - 1].alert_id if len(rows) > limit else "")


async def acknowledge(
    plane: control_plane.ControlPlane, credential: str, alert_id: str, why: alerts.AlertReason
) -> alerts.AlertView:
    """Say that somebody sees to it: it is told to nobody again while it lasts. Roles: developer, approver, admin.

    Errors: NotFound; Conflict for one that is resolved. The same again changes nothing.
    """
    return await _change(plane, credential, alert_id, why, AlertState.ACKNOWLEDGED)


async def resolve(
    plane: control_plane.ControlPlane, credential: str, alert_id: str, why: alerts.AlertReason
) -> alerts.AlertView:
    """Say that it is over. Found again within the rule's `reopen_hours`, it is open again. Roles: developer, approver, admin.

    Errors: NotFound. The same again changes nothing.
    """
    return await _change(plane, credential, alert_id, why, AlertState.RESOLVED)


def _shown(view: alerts.AlertView, shown: showing.Shown) -> alerts.AlertView:
    """An alert that was found before its column was classified has its values still."""

    def told(event: alerts.AlertEvent) -> alerts.AlertEvent:
        if "message" not in event.detail:
            return event
        _, message = showing.finding(view.subject, str(event.detail["message"]), shown)
        return event.model_copy(update={"detail": {**event.detail, "message": message}})

    subject, message = showing.finding(view.subject, view.message, shown)
    history = tuple(map(told, view.history))
    return view.model_copy(update={"subject": subject, "message": message, "history": history})


async def _change(
    plane: control_plane.ControlPlane,
    credential: str,
    alert_id: str,
    why: alerts.AlertReason,
    wanted: AlertState,
) -> alerts.AlertView:
    async def target(connection: AsyncConnection) -> access.Target:
        row = await store.find_alert(connection, alert_id)
        if not await _may_know(plane, connection, credential, row.project):
            raise store.unknown_alert(alert_id)
        return access.project(row.project, row.environment)

    async def do(connection: AsyncConnection, by: identity.Actor) -> mutation.Change[alerts.AlertView]:
        row = await store.find_alert(connection, alert_id)
        shown = await masking_service.on_record(plane, connection, row.project)
        if row.state == wanted:
            return mutation.Change(_shown(store.alert_view(row), shown), _alert(row), is_new=False)
        if row.state == AlertState.RESOLVED:
            raise store.is_over(row)
        now = base.utc_now()
        name = str(wanted)
        values = {f"{name}_at": now.isoformat(), f"{name}_by": by.name}
        await store.update_alert(connection, alert_id, state=name, reason=why.reason, **values)
        await store.add_event(connection, alert_id, name, by=by.name, at=now, detail={"reason": why.reason})
        row = await store.find_alert(connection, alert_id)
        view = _shown(store.alert_view(row, await store.history(connection, alert_id)), shown)
        return mutation.Change(view, _alert(row), {"reason": why.reason, "message": view.message})

    return await mutation.mutate(
        plane,
        credential,
        action=_VERBS[wanted],
        right="alert.handle",
        resource=f"alert/{alert_id}",
        on=target,
        do=do,
    )


async def _may_know(
    plane: control_plane.ControlPlane, connection: AsyncConnection, credential: str, project: str
) -> bool:
    who = await access.identify(connection, plane.issuer.authenticate(credential))
    return plane.policies.decide(access.to_read(who, "alert.read", project)).allowed


async def put_rules(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    wanted: alerts.AlertRules,
    *,
    if_match: str = "",
) -> alerts.RulesView:
    """Put a project's rules in force, as a new version; the same again changes nothing. Roles: developer, admin.

    `if_match`: the version that is changed; the first needs none.
    Errors: NotFound for the project; PreconditionFailed, PreconditionRequired.
    """
    document = wanted.model_dump(mode="json")

    async def do(connection: AsyncConnection, by: identity.Actor) -> mutation.Change[alerts.RulesView]:
        await project_store.find(connection, project)
        before = await store.rules_in_force(connection, project)
        if before.version and before.rules == wanted:
            return mutation.Change(before, f"alert-rules/{project}", is_new=False)
        if before.version:
            versions.require(if_match, str(before.version), resource="alert rules", name=project)
        else:
            versions.check(if_match, str(before.version), resource="alert rules", name=project)
        await store.put_rules(
            connection, project, before.version + 1, document, by=by.name, at=base.utc_now()
        )
        now = await store.rules_in_force(connection, project)
        detail = {"version": now.version, "digest": canonical.digest(document), "rules": len(wanted.rules)}
        return mutation.Change(now, f"alert-rules/{project}", detail)

    return await mutation.mutate(
        plane,
        credential,
        action="alert.rules",
        resource=f"alert-rules/{project}",
        on=access.project(project),
        do=do,
    )


async def show_rules(plane: control_plane.ControlPlane, credential: str, project: str) -> alerts.RulesView:
    """The rules in force. Errors: NotFound for the project."""
    async with reads.reading(plane, credential, action="alert.read") as reader:
        await reader.project(project)
        return await store.rules_in_force(reader.connection, project)


def _report(row: sa.Row[Any]) -> str:
    return f"monitoring/{row.project}/{row.report_id}"


def _alert(row: sa.Row[Any]) -> str:
    return f"alert/{row.project}/{row.alert_id}"
