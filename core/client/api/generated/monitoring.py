"""Made by tools/async_client.py from ../monitoring.py; change that. How served models do: reports of checks, alerts and what happened to them, and the rules that raise them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

from mainspring.core.client.api.awaited import AsyncConnection
from mainspring.core.contracts import alerts as alert_contracts
from mainspring.core.contracts import control


class AsyncMonitoring(AsyncConnection):
    """Reports, alerts and their rules."""

    async def record_report(self, record: alert_contracts.ReportRecord) -> alert_contracts.ReportView:
        """Role service. The same report again changes nothing."""
        return await self._report("/api/v1/monitoring/reports", record, alert_contracts.ReportView)

    async def monitoring_reports(
        self,
        *,
        project: str = "",
        endpoint: str = "",
        bundle_digest: str = "",
        before: str = "",
        limit: int = 100,
    ) -> control.Page:
        """Without their contents, newest first."""
        asked = {"project": project, "endpoint": endpoint, "bundle_digest": bundle_digest}
        return await self._get("/api/v1/monitoring/reports", control.Page, before=before, limit=limit, **asked)

    async def monitoring_report(self, report_id: str) -> alert_contracts.ReportView:
        """A report, whole."""
        return await self._get(
            f"/api/v1/monitoring/reports/{quote(report_id, safe='')}", alert_contracts.ReportView
        )

    async def monitoring_page(self, report_id: str) -> AsyncIterator[bytes]:
        """Evidently's page of a report, in pieces; `html_digest` of the report is its digest. Errors: NotFound where none is kept."""
        async with self._stream(
            f"/api/v1/monitoring/reports/{quote(report_id, safe='')}/page", {}, quiet_seconds=60.0
        ) as answer:
            async for piece in answer.aiter_raw():  # noqa: UP028 (the awaited half has no `yield from`)
                yield piece

    async def alerts(
        self, *, project: str = "", state: str = "", endpoint: str = "", before: str = "", limit: int = 100
    ) -> control.Page:
        """Without their history, newest first. `state`: `open`, `acknowledged` or `resolved`; empty: all."""
        asked = {"project": project, "endpoint": endpoint, **({"state": state} if state else {})}
        return await self._get("/api/v1/alerts", control.Page, before=before, limit=limit, **asked)

    async def alert(self, alert_id: str) -> alert_contracts.AlertView:
        """An alert, and what happened to it."""
        return await self._get(f"/api/v1/alerts/{quote(alert_id, safe='')}", alert_contracts.AlertView)

    async def acknowledge_alert(self, alert_id: str, *, reason: str) -> alert_contracts.AlertView:
        """Roles developer, approver, admin. Errors: Conflict if it is resolved."""
        said = alert_contracts.AlertReason(reason=reason)
        return await self._post(
            f"/api/v1/alerts/{quote(alert_id, safe='')}/acknowledge", said, alert_contracts.AlertView
        )

    async def resolve_alert(self, alert_id: str, *, reason: str) -> alert_contracts.AlertView:
        """Roles developer, approver, admin. Errors: Conflict if it is resolved."""
        said = alert_contracts.AlertReason(reason=reason)
        return await self._post(
            f"/api/v1/alerts/{quote(alert_id, safe='')}/resolve", said, alert_contracts.AlertView
        )

    async def alert_rules(self, project: str) -> alert_contracts.RulesView:
        """The rules in force."""
        return await self._get(f"/api/v1/projects/{quote(project)}/alert-rules", alert_contracts.RulesView)

    async def put_alert_rules(
        self, project: str, rules: alert_contracts.AlertRules, *, version: str = ""
    ) -> alert_contracts.RulesView:
        """Roles developer, admin. As a new version; the same again changes nothing. `version` is that of the rules one has looked
        at; empty: the first. Errors: PreconditionFailed if somebody changed them since, PreconditionRequired if there are some.
        """
        return await self._put(
            f"/api/v1/projects/{quote(project)}/alert-rules",
            rules.model_dump(mode="json"),
            alert_contracts.RulesView,
            version=version,
        )
