"""The deployment's side effects: serving and the control API over HTTP, each exchange safe to repeat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx
from temporalio import activity

from mainspring.core import errors, workspace
from mainspring.core.contracts import budgets, deployment, prediction
from mainspring.core.lineage import emitter, jobs
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows import heartbeat, probes
from mainspring.workflows.deployment import judge, messages
from mainspring.workflows.exchange import exchange

#: Between two looks at a canary that is paused.
_LOOK_SECONDS: Final = 1.0


class DeploymentActivities:
    """`serving` and `control` are clients with their base URL and credentials set; `tell` None: no lineage is told."""

    def __init__(
        self,
        serving: httpx.AsyncClient,
        control: httpx.AsyncClient,
        state_dir: Path,
        tell: emitter.Emitter | None = None,
        admit: Callable[[str, str], None] | None = None,
    ) -> None:
        """`admit`: whether a bundle (its digest) may serve in an environment; raises PolicyDenied. None: whoever serves decides
        alone, by what every bundle must have."""
        self._serving = serving
        self._control = control
        self._state_dir = state_dir
        self._tell = tell
        self._admit = admit

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [
            self.read_endpoint,
            self.load_bundle,
            self.set_traffic,
            self.restore_traffic,
            self.probe,
            self.read_stats,
            self.watch,
            self.report_event,
            self.admit_bundle,
            self.afford,
        ]

    @activity.defn(name=messages.READ_ENDPOINT)
    async def read_endpoint(self, asked: messages.ReadEndpoint) -> messages.EndpointFound:
        with temporal_errors.typed():
            try:
                value = await self._ask("GET", f"/v1/endpoints/{asked.endpoint}")
            except errors.NotFound:
                return messages.EndpointFound(released_version=await self._released(asked.endpoint))
        return messages.EndpointFound(view=deployment.EndpointView.model_validate(value))

    async def _released(self, endpoint: str) -> int:
        try:
            value = await self._ask("GET", f"/v1/endpoints/{endpoint}/released")
        except errors.NotFound:
            return 0
        return deployment.EndpointReleased.model_validate(value).version

    @activity.defn(name=messages.LOAD_BUNDLE)
    async def load_bundle(self, asked: messages.LoadBundle) -> prediction.BundleView:
        """A deployment that is asked for again, or replayed by hand, is asked what holds today, and not what held then."""
        await self._require(asked.digest, asked.environment)
        value = await self._call("POST", "/v1/bundles:load", _load(asked.digest))
        return prediction.BundleView.model_validate(value)

    @activity.defn(name=messages.ADMIT_BUNDLE)
    async def admit_bundle(self, asked: messages.AdmitBundle) -> None:
        """Before it waits for its turn; when that has come, :meth:`load_bundle` asks once more."""
        await self._require(asked.digest, asked.environment)

    @activity.defn(name=messages.AFFORD)
    async def afford(self, asked: messages.Afford) -> None:
        """Errors: BudgetExhausted where the run or its project has spent what it may; DependencyDown."""
        query = httpx.QueryParams({"run": asked.run_id, "project": asked.project})
        with temporal_errors.typed():
            async with heartbeat.beating():
                told = await exchange(self._control, "control", "GET", f"/api/v1/costs:standing?{query}")
            standing = budgets.Standing.model_validate(told)
            for scope, name, known in (
                ("run", asked.run_id, standing.runs.get(asked.run_id)),
                ("project", asked.project, standing.projects.get(asked.project)),
                *(
                    (f"budget of this {one.period} of project", asked.project, one)
                    for one in standing.budgets
                    if one.project == asked.project and one.is_for(asked.environment)
                ),
            ):
                if known is not None and known.limit is not None and known.spent >= known.limit:
                    raise _spent(asked.run_id, scope, name, known, standing.currency)

    async def _require(self, digest: str, environment: str) -> None:
        if self._admit is not None:
            with temporal_errors.typed():
                async with heartbeat.beating():
                    await asyncio.to_thread(self._admit, digest, environment or "prod")

    @activity.defn(name=messages.SET_TRAFFIC)
    async def set_traffic(self, asked: messages.SetTraffic) -> deployment.TrafficTable:
        await self._put(asked.table, asked.project)
        return asked.table

    @activity.defn(name=messages.RESTORE_TRAFFIC)
    async def restore_traffic(self, asked: messages.RestoreTraffic) -> messages.Restored:
        value = await self._call("GET", f"/v1/endpoints/{asked.previous.endpoint}")
        now = deployment.EndpointView.model_validate(value).traffic
        same = _answerers(now) == _answerers(asked.previous)
        if now.set_by != asked.run_id:
            return messages.Restored(version=now.version, changed=False)
        if same:  # an attempt before this one, whose worker died before it could say so
            return messages.Restored(version=now.version, changed=True)
        version = now.version + 1
        table = asked.previous.model_copy(update={"version": version, "set_by": asked.run_id})
        await self._put(table, asked.project)
        return messages.Restored(version=version, changed=True)

    @activity.defn(name=messages.PROBE)
    async def probe(self, asked: messages.Probe) -> messages.Probed:
        """One after the other: many at once would slow each other, and latency is what the judge compares.

        What the bundles answer with counts; that nothing answers, or that serving is busy, is tried again.
        """
        path = workspace.Workspace(self._state_dir, asked.project, 1.0).probes
        failed, first = 0, ""
        with temporal_errors.typed():
            bodies = await asyncio.to_thread(probes.read, path, limit=asked.rows, skip=asked.skip)
            for body in bodies:
                try:
                    await self._ask("POST", f"/v1/endpoints/{asked.endpoint}:predict", body)
                except (errors.Busy, errors.Unavailable):
                    raise
                except errors.MainspringError as error:
                    failed, first = failed + 1, first or error.message
        if not bodies:
            first = f"no recorded requests in `{path.name}`; judged on live traffic"
        return messages.Probed(sent=len(bodies), failed=failed, message=first)

    @activity.defn(name=messages.READ_STATS)
    async def read_stats(self, asked: messages.ReadStats) -> deployment.EndpointStats:
        value = await self._call("GET", f"/v1/endpoints/{asked.endpoint}/stats")
        return deployment.EndpointStats.model_validate(value)

    @activity.defn(name=messages.WATCH)
    async def watch(self, asked: messages.Watch) -> deployment.EndpointStats:
        """What made it end is in the statistics: the workflow judges them once more. Serving that is away is waited for."""
        path = f"/v1/endpoints/{asked.request.endpoint}/stats"
        while True:
            stats = deployment.EndpointStats.model_validate(await self._call("GET", path))
            found = judge.judge(stats, asked.request, time_is_up=False, role=asked.role)
            if stats.traffic_version != asked.traffic_version or found.verdict is judge.Verdict.BREACH:
                return stats
            async with heartbeat.beating():
                await asyncio.sleep(_LOOK_SECONDS)

    @activity.defn(name=messages.REPORT_EVENT)
    async def report_event(self, asked: messages.ReportEvent) -> None:
        path = f"/api/v1/runs/{asked.event.run_id}/events"
        with temporal_errors.typed():
            async with heartbeat.beating():
                await exchange(self._control, "control", "POST", path, asked.event.model_dump_json())

    async def _put(self, table: deployment.TrafficTable, project: str) -> None:
        attempt = activity.info().attempt if activity.in_activity() else 1
        # A workflow of a release without `project` tells of its endpoint under the endpoint's own name.
        run = jobs.JobRun(
            project or table.endpoint,
            "deployment.set_traffic",
            table.set_by,
            attempt,
            part=f"{table.endpoint}/{table.version}",
        )
        answers = [digest for digest in (table.stable, table.canary, table.shadow) if digest is not None]
        with temporal_errors.typed():
            async with heartbeat.beating(), emitter.telling_async(self._tell, run) as told:
                await self._put_over(table, answers)
                told.reads += [jobs.Dataset("model", digest, "model") for digest in answers]
                told.makes.append(jobs.Dataset(f"endpoint.{table.endpoint}", str(table.version), "endpoint"))

    async def _put_over(self, table: deployment.TrafficTable, answers: list[str]) -> None:
        """Serving that was started again has what its tables name, and not the candidate that was loaded for this one."""
        path, body = f"/v1/endpoints/{table.endpoint}/traffic", table.model_dump_json()
        try:
            await self._ask("PUT", path, body)
        except errors.NotFound:
            for digest in answers:
                await self._ask("POST", "/v1/bundles:load", _load(digest))
            await self._ask("PUT", path, body)

    async def _call(self, method: str, path: str, body: str = "") -> Any:
        with temporal_errors.typed():
            return await self._ask(method, path, body)

    async def _ask(self, method: str, path: str, body: str = "") -> Any:
        async with heartbeat.beating():
            return await exchange(self._serving, "serving", method, path, body)


def _spent(
    run_id: str, scope: str, name: str, known: budgets.Spending | budgets.PeriodSpending, currency: str
) -> errors.BudgetExhausted:
    assert known.limit is not None  # what is said to be spent has one
    return errors.BudgetExhausted(
        f"{scope} `{name}` has spent {known.spent:.6g} of {known.limit:.6g} {currency} while this deployment waited for its"
        " turn; raise that limit, then deploy again",
        run_id=run_id,
        scope=scope.partition(" ")[0],
        limit=known.limit,
        spent=known.spent,
        currency=currency,
    )


def _answerers(table: deployment.TrafficTable) -> tuple[str | bool | None, ...]:
    return table.stable, table.canary, table.shadow, table.counts_scores


def _load(digest: str) -> str:
    return prediction.BundleLoad(digest=digest).model_dump_json()
