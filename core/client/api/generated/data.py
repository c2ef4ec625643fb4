"""Made by tools/async_client.py from ../data.py; change that. What data there is, where it came from, what was not let in; and what was done, used and paid."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from mainspring.core.client.api import wire
from mainspring.core.client.api.awaited import AsyncConnection
from mainspring.core.contracts import (
    budgets,
    catalog,
    control,
    cost_reports,
    evidence,
    lineage,
    metering,
    quality,
    retention,
    storage,
    training,
    unit_costs,
)


class AsyncData(AsyncConnection):
    """Catalog, lineage and quarantine."""

    async def put_catalog(
        self, project: str, entries: Sequence[catalog.CatalogEntry], *, version: str = ""
    ) -> catalog.CatalogReceipt:
        """Roles service, developer. The whole catalog of a project; the same again changes nothing.

        `version` is that of the catalog one has looked at; empty: whichever there is. Errors: PreconditionFailed.
        """
        body = catalog.CatalogPut(entries=list(entries)).model_dump(mode="json")
        path = f"/api/v1/catalog/{quote(project)}"
        return await self._put(path, body, catalog.CatalogReceipt, version=version)

    async def catalog_summary(self, project: str) -> catalog.CatalogSummary:
        return await self._get(f"/api/v1/catalog/{quote(project)}", catalog.CatalogSummary)

    async def search_catalog(self, *, after: str = "", limit: int = 100, **wanted: Any) -> control.Page:
        """`wanted`: `search`, `project`, `kind`, `classification`, `owner`, `pii`."""
        return await self._get("/api/v1/catalog", control.Page, after=after, limit=limit, **wanted)

    async def each_catalog_entry(self, **wanted: Any) -> AsyncIterator[catalog.CatalogView]:
        """All that :meth:`search_catalog` finds, a page at a time."""
        after = ""
        while True:
            page = await self.search_catalog(after=after, limit=500, **wanted)
            for item in page.items:
                yield catalog.CatalogView.model_validate(item)
            if not (after := page.next):
                return

    async def catalog_entry(self, project: str, name: str) -> catalog.CatalogView:
        return await self._get(f"/api/v1/catalog/{quote(project)}/{quote(name)}", catalog.CatalogView)

    async def quarantine(self, project: str, *, after: str = "", limit: int = 100) -> control.Page:
        return await self._get(f"/api/v1/quarantine/{quote(project)}", control.Page, after=after, limit=limit)

    async def each_held_batch(self, project: str) -> AsyncIterator[quality.HeldBatch]:
        """All of them by name, a page at a time."""
        after = ""
        while True:
            page = await self.quarantine(project, after=after)
            for item in page.items:
                yield quality.HeldBatch.model_validate(item)
            if not (after := page.next):
                return

    async def held_batch(self, project: str, name: str) -> quality.HeldBatch:
        return await self._get(f"/api/v1/quarantine/{quote(project)}/{quote(name)}", quality.HeldBatch)

    async def release_batch(self, project: str, name: str, *, reason: str) -> quality.HeldBatch:
        """Role approver."""
        path = f"/api/v1/quarantine/{quote(project)}/{quote(name)}/release"
        return await self._post(path, quality.ReleaseCreate(reason=reason), quality.HeldBatch)

    async def record_lineage(self, event: Mapping[str, Any]) -> lineage.LineageReceipt:
        """Roles service, developer. One OpenLineage run event; idempotent by content."""
        asked = wire.Asked("POST", "/api/v1/lineage", dict(event))
        return wire.read(self._url, lineage.LineageReceipt, await self._send(asked))

    async def walk_lineage(
        self,
        direction: lineage.Direction,
        namespace: str,
        name: str,
        *,
        version: str = "",
        column: str = "",
        kind: str = "",
    ) -> lineage.LineageGraph:
        asked = {"direction": direction, "namespace": namespace, "name": name}
        return await self._get(
            "/api/v1/lineage:walk", lineage.LineageGraph, **asked, version=version, column=column, kind=kind
        )

    async def prediction_rows(
        self, project: str, model_version: str, *, as_of: datetime, entity: Mapping[str, Any]
    ) -> lineage.PredictionRows:
        """The row of each view that a prediction for `entity` at `as_of` came from."""
        asked = {"project": project, "model_version": model_version, "as_of": as_of.isoformat()}
        keys = [f"{key}:{value}" for key, value in entity.items()]
        return await self._get("/api/v1/lineage:rows", lineage.PredictionRows, **asked, entity=keys)


class AsyncRecords(AsyncConnection):
    """The audit log, use and costs."""

    async def audit(
        self,
        *,
        actor: str = "",
        action: str = "",
        resource: str = "",
        outcome: str = "",
        newest: bool = False,
        after: str = "",
        limit: int = 100,
    ) -> control.Page:
        """Oldest first, or with `newest` the other way round; filters are exact, and empty ones none."""
        wanted = {"actor": actor, "action": action, "resource": resource, "outcome": outcome}
        return await self._get(
            "/api/v1/audit", control.Page, **wanted, newest=str(newest).lower(), after=after, limit=limit
        )

    async def each_audit_row(self) -> AsyncIterator[control.AuditView]:
        """All of them, oldest first, a page at a time."""
        after = ""
        while True:
            page = await self.audit(after=after, limit=500)
            for item in page.items:
                yield control.AuditView.model_validate(item)
            if not (after := page.next):
                return

    async def export_audit(self, project: str = "", *, after: int = 0) -> AsyncIterator[bytes]:
        """The audit log in pieces of bytes, as `mainspring audit verify --export` reads it; one project's part of it, or what follows a row."""
        asked: dict[str, Any] = {"project": project} if project else {"after": after} if after else {}
        async with self._stream("/api/v1/audit:export", {}, quiet_seconds=None, **asked) as answer:
            async for piece in answer.aiter_raw():  # noqa: UP028 (the awaited half has no `yield from`)
                yield piece

    async def verify_audit(self) -> dict[str, Any]:
        """`ok`, `rows`, `head`, and where the chain breaks, if it does."""
        answer: dict[str, Any] = await self._send(wire.Asked("GET", "/api/v1/audit:verify"))
        return answer

    async def prove_audit(self, sequence: int, *, since: int = 0) -> dict[str, Any]:
        """That a row is in the log, for `mainspring audit verify --proof`; with `since` that the log only grew since it had so many rows."""
        asked: dict[str, Any] = {"since": since} if since else {}
        answer: dict[str, Any] = await self._send(
            wire.Asked("GET", f"/api/v1/audit/{sequence}/proof", params=asked)
        )
        return answer

    async def export_evidence(self, project: str, asked: evidence.EvidenceCreate) -> evidence.EvidencePack:
        """Roles approver, admin. A signed zip file in base64; a long time takes its while."""
        return await self._post(f"/api/v1/projects/{quote(project)}/evidence", asked, evidence.EvidencePack)

    async def record_usage(self, record: training.UsageRecord) -> control.CostView:
        """Role service. Idempotent by `usage_key`."""
        return await self._report("/api/v1/usage", record, control.CostView)

    async def record_retention(
        self, project: str, removed: retention.RetentionRecord
    ) -> retention.RetentionRecorded:
        """Role service. Idempotent by `event_key`."""
        return await self._report(
            f"/api/v1/projects/{quote(project)}/retentions", removed, retention.RetentionRecorded
        )

    async def record_serving_usage(self, records: Sequence[metering.ServingUsage]) -> metering.ServingUsageReceipt:
        """Role service. All of them or none; idempotent by each record's `usage_key`."""
        batch = metering.ServingUsageBatch(records=list(records))
        return await self._report("/api/v1/serving-usage", batch, metering.ServingUsageReceipt)

    async def serving_usage(
        self, *, group_by: str = "model_version", project: str = ""
    ) -> metering.ServingUsageSummary:
        answer = metering.ServingUsageSummary
        return await self._get("/api/v1/serving-usage", answer, group_by=group_by, project=project)

    async def record_storage(self, project: str, measured: storage.StorageMeasured) -> storage.StorageView:
        """Role service. One that is not younger than the last changes nothing."""
        return await self._report(f"/api/v1/projects/{quote(project)}/storage", measured, storage.StorageView)

    async def storage(self, project: str) -> storage.StorageView:
        """What a project kept when it was last measured."""
        return await self._get(f"/api/v1/projects/{quote(project)}/storage", storage.StorageView)

    async def unit_costs(self, *, project: str = "", since: str = "", until: str = "") -> unit_costs.UnitCosts:
        """Per run and per thousand predictions; the period as in :meth:`costs`."""
        period = wire.period(since, until)
        return await self._get("/api/v1/costs:units", unit_costs.UnitCosts, project=project, **period)

    async def oversize_runs(
        self, *, project: str = "", below: float = 0.25, before: str = "", limit: int = 50
    ) -> control.Page:
        """Newest first; items are `unit_costs.OversizeRun`."""
        path = "/api/v1/costs:oversize"
        return await self._get(path, control.Page, project=project, below=below, before=before, limit=limit)

    async def forecasts(self, *, project: str = "", after: str = "", limit: int = 100) -> control.Page:
        """By project; items are `unit_costs.BudgetForecast`."""
        return await self._get("/api/v1/costs:forecast", control.Page, project=project, after=after, limit=limit)

    async def standing(self, *, runs: Sequence[str] = (), projects: Sequence[str] = ()) -> budgets.Standing:
        """What each has spent of what it may; those that may not be known of are left out. Up to 200 of each."""
        return await self._get("/api/v1/costs:standing", budgets.Standing, run=list(runs), project=list(projects))

    async def costs(
        self, *, group_by: str = "project", project: str = "", since: str = "", until: str = ""
    ) -> control.CostSummary:
        """Of use that began in [`since`, `until`), times as RFC 3339; empty: without a limit. `tag:KEY` is by a tag of projects."""
        period = wire.period(since, until)
        return await self._get("/api/v1/costs", control.CostSummary, group_by=group_by, project=project, **period)

    async def untagged_projects(self, *, project: str = "", after: str = "", limit: int = 100) -> control.Page:
        """By name: those that lack tags which settings ask for; items are `tags.ProjectUntagged`."""
        return await self._get("/api/v1/costs:untagged", control.Page, project=project, after=after, limit=limit)

    async def chargeback(
        self, month: str, *, by: str = "project", split: cost_reports.Split = cost_reports.Split.PROPORTIONAL
    ) -> cost_reports.Chargeback:
        """What each `project`, `environment` or value of `tag:KEY` pays of a month such as `2026-11`. A role of the whole platform."""
        path = "/api/v1/costs:chargeback"
        return await self._get(path, cost_reports.Chargeback, month=month, by=by, split=str(split))

    async def showback(self, month: str, *, by: str = "project", project: str = "") -> cost_reports.Showback:
        """What each used of a month, beside the month before, its forecast and its budget."""
        path = "/api/v1/costs:showback"
        return await self._get(path, cost_reports.Showback, month=month, by=by, project=project)

    async def cost_records(
        self, *, project: str = "", since: str = "", until: str = ""
    ) -> AsyncIterator[control.CostView]:
        """Priced records one by one, by usage key; the period as in :meth:`costs`."""
        asked, after = {"project": project, **wire.period(since, until)}, ""
        while True:
            page = await self._get("/api/v1/costs:records", control.Page, **asked, after=after)
            for item in page.items:
                yield control.CostView.model_validate(item)
            if not (after := page.next):
                return
