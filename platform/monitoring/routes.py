"""`/v1/monitoring/reports`, `/v1/alerts` and `/v1/projects/{project}/alert-rules`, each under `/api` as well."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import Response, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import alerts, control
from mainspring.core.monitoring import pages
from mainspring.platform import plane as control_plane
from mainspring.platform.http import versions
from mainspring.platform.monitoring import service

_REPORTS: Final = ["/api/v1/monitoring/reports", "/v1/monitoring/reports"]
_ALERTS: Final = ["/api/v1/alerts", "/v1/alerts"]
_RULES: Final = ["/api/v1/projects/{project:str}/alert-rules", "/v1/projects/{project:str}/alert-rules"]
#: A page with scripts that are not ours, at an origin of nobody's.
_PAGE_HEADERS: Final = {
    "Content-Security-Policy": f"sandbox allow-scripts; frame-ancestors 'none'; {pages.POLICY}",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}


@post(_REPORTS, tags=["monitoring"], status_code=201)
async def record_report(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    data: JSONBody[alerts.ReportRecord],
) -> alerts.ReportView:
    """Put a report of a served model on record, with the alerts that it calls for. Role: service."""
    return await service.record(plane, credential, data)


@get(_REPORTS, tags=["monitoring"])
async def list_reports(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromQuery[str] = "",
    endpoint: FromQuery[str] = "",
    bundle_digest: FromQuery[str] = "",
    before: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> control.Page:
    """Reports without their contents, newest first."""
    return await service.read_reports(
        plane,
        credential,
        project=project,
        endpoint=endpoint,
        bundle_digest=bundle_digest,
        before=before,
        limit=limit,
    )


@get([f"{path}/{{report_id:str}}" for path in _REPORTS], tags=["monitoring"])
async def show_report(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    report_id: FromPath[str],
) -> alerts.ReportView:
    """A report, whole."""
    return await service.show_report(plane, credential, report_id)


@get([f"{path}/{{report_id:str}}/page" for path in _REPORTS], tags=["monitoring"], media_type="text/html")
async def show_report_page(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    report_id: FromPath[str],
) -> Response[bytes]:
    """Evidently's page of a report, where the check left one and this control API sees its folder. It may run its own scripts alone."""
    found = await service.show_page(plane, credential, report_id)
    return Response(found, media_type="text/html", headers=_PAGE_HEADERS)


@get(_ALERTS, tags=["alerts"])
async def list_alerts(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromQuery[str] = "",
    wanted: Annotated[alerts.AlertState | None, QueryParameter(name="state")] = None,
    endpoint: FromQuery[str] = "",
    before: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> control.Page:
    """Alerts without their history, newest first."""
    return await service.read_alerts(
        plane, credential, project=project, state=wanted, endpoint=endpoint, before=before, limit=limit
    )


@get([f"{path}/{{alert_id:str}}" for path in _ALERTS], tags=["alerts"])
async def show_alert(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    alert_id: FromPath[str],
) -> alerts.AlertView:
    """An alert, and what happened to it."""
    return await service.show_alert(plane, credential, alert_id)


@post([f"{path}/{{alert_id:str}}/acknowledge" for path in _ALERTS], tags=["alerts"], status_code=200)
async def acknowledge_alert(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    alert_id: FromPath[str],
    data: JSONBody[alerts.AlertReason],
) -> alerts.AlertView:
    """Say that somebody sees to it. Roles: developer, approver, admin."""
    return await service.acknowledge(plane, credential, alert_id, data)


@post([f"{path}/{{alert_id:str}}/resolve" for path in _ALERTS], tags=["alerts"], status_code=200)
async def resolve_alert(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    alert_id: FromPath[str],
    data: JSONBody[alerts.AlertReason],
) -> alerts.AlertView:
    """Say that it is over. Roles: developer, approver, admin."""
    return await service.resolve(plane, credential, alert_id, data)


@get(_RULES, tags=["alerts"])
async def show_alert_rules(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
) -> Response[alerts.RulesView]:
    """A project's alert rules in force."""
    found = await service.show_rules(plane, credential, project)
    return versions.tagged(found, str(found.version))


@put(_RULES, tags=["alerts"])
async def put_alert_rules(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    data: JSONBody[alerts.AlertRules],
    if_match: versions.IfMatch = "",
) -> Response[alerts.RulesView]:
    """Put a project's alert rules in force, as a new version after the one in `If-Match`. Roles: developer, admin."""
    made = await service.put_rules(plane, credential, project, data, if_match=if_match)
    return versions.tagged(made, str(made.version))


HANDLERS = (
    record_report,
    list_reports,
    show_report,
    show_report_page,
    list_alerts,
    show_alert,
    acknowledge_alert,
    resolve_alert,
    show_alert_rules,
    put_alert_rules,
)
