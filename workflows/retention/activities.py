"""The retention's side effects: what goes is reported and on record first, then files and rows of lineage are removed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter
from temporalio import activity

from mainspring.core import canonical, durable, errors, job_logs, settings, workspace
from mainspring.core import retention as kept
from mainspring.core.contracts import control as control_contracts
from mainspring.core.contracts import deployment, retention
from mainspring.core.contracts import holds as hold_contracts
from mainspring.core.contracts.retention import KeptKind
from mainspring.core.pipelines import contents
from mainspring.core.pipelines.store import PipelineStore
from mainspring.workflows import clock, heartbeat
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.exchange import exchange
from mainspring.workflows.retention import messages
from mainspring.workflows.training.data_activities import in_thread

__all__ = ["RetentionActivities"]

_LOG: Final = logging.getLogger(__name__)
_ENDPOINTS: Final = TypeAdapter(list[deployment.EndpointView])
#: Files that go between two looks at the project's holds: one that is placed meanwhile keeps the rest.
_CHUNK: Final = 100


@dataclass(frozen=True)
class _Plan:
    """What is to go, as its report on disk has it."""

    now: datetime
    under_way: frozenset[str]
    holds: tuple[retention.LegalHold, ...]
    """The project's, and those that its schedule has."""
    found: kept.Sorted
    kinds: tuple[retention.RemovedKind, ...]
    """Of files, with what they have now."""
    report: Path
    digest: str


class RetentionActivities:
    """Logs are where serving writes them, on the same machine or a mounted one. Both clients have base URL and credentials set."""

    def __init__(
        self, in_force: settings.Settings, serving: httpx.AsyncClient, control: httpx.AsyncClient
    ) -> None:
        self._settings = in_force
        self._serving = serving
        self._control = control

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.remove]

    @activity.defn(name=messages.REMOVE)
    async def remove(self, request: retention.RetentionRequest) -> retention.RetentionOutcome:
        """Nothing goes that is not on record, or that a hold of the project's covers, which are asked for anew between files.

        Errors: DependencyDown for a clock that is wrong, a file that stays, or a server that is needed and silent.
        """
        with temporal_errors.typed():
            now = clock.agreed_now()
            under_way = await self._under_way(request)
            holds = await self._holds(request)
        plan = await in_thread(lambda: self._plan(request, under_way, holds, now))
        with temporal_errors.typed():
            async with heartbeat.beating():
                lineage = await self._record(request, plan)
        taken = await self._take(request, plan)
        kinds = (*taken, *([] if lineage is None else [lineage]))
        _LOG.info("retention of `%s`: %s, see %s", request.project, kinds, plan.report)
        return retention.RetentionOutcome(
            project=request.project, is_dry=request.is_dry, kinds=kinds, report_path=str(plan.report)
        )

    async def _under_way(self, request: retention.RetentionRequest) -> frozenset[str]:
        """Runs of the project that have not ended, where something depends on them."""
        if KeptKind.PIPELINE_CONTENTS not in request.days:
            return frozenset()
        found, before = set[str](), ""
        async with heartbeat.beating():
            while True:
                path = f"/api/v1/runs?project={request.project}&open=true&limit=200&before={quote(before)}"
                page = control_contracts.Page.model_validate(
                    await exchange(self._control, "control", "GET", path)
                )
                found |= {str(item["run_id"]) for item in page.items}
                if not (before := page.next):
                    return frozenset(found)

    async def _holds(self, request: retention.RetentionRequest) -> tuple[retention.LegalHold, ...]:
        """What may not go: by the control API, whoever changed the schedule, and by the schedule. Errors: DependencyDown."""
        found, before = list(request.holds), ""
        async with heartbeat.beating():
            while True:
                path = (
                    f"/api/v1/projects/{request.project}/holds?in_force=true&limit=500&before={quote(before)}"
                )
                page = control_contracts.Page.model_validate(
                    await exchange(self._control, "control", "GET", path)
                )
                for item in page.items:
                    found += hold_contracts.HoldView.model_validate(item).of_retention()
                if not (before := page.next):
                    return tuple(found)

    def _plan(
        self,
        request: retention.RetentionRequest,
        under_way: frozenset[str],
        holds: tuple[retention.LegalHold, ...],
        now: datetime,
    ) -> _Plan:
        space, found = self._space(request), self._sorted(request, under_way, holds, now)
        report = space.root / "retention" / f"{now:%Y%m%dT%H%M%S%f}.json"
        report.parent.mkdir(parents=True, exist_ok=True)
        told = canonical.dumps(_report(request, holds, found))
        # Before anything is gone: a crash in the middle must not leave files missing of which nothing tells.
        durable.replace_file(report, told)
        sizes = {item.path: item.size() for item in found.old}
        kinds, digest = _kinds(request, found, sizes), canonical.digest_bytes(told)
        return _Plan(now, under_way, holds, found, kinds, report, digest)

    def _sorted(
        self,
        request: retention.RetentionRequest,
        under_way: frozenset[str],
        holds: tuple[retention.LegalHold, ...],
        now: datetime,
    ) -> kept.Sorted:
        serving, root = self._settings.serving, self._space(request).root
        places = kept.Places(
            serving.predictions_dir,
            request.endpoints,
            serving.reads_dir,
            request.views,
            root,
            self._job_logs(request),
        )
        parts = [kept.sort(kept.items(places, request.days), request.days, holds, now=now)]
        if KeptKind.PIPELINE_CONTENTS in request.days:
            store = self._store(request)
            parts.append(contents.sort(store, request.days, holds, under_way=under_way, now=now))
        return kept.Sorted.of(parts)

    async def _record(self, request: retention.RetentionRequest, plan: _Plan) -> retention.RemovedKind | None:
        """The control API has what goes, and removes what it has itself: so many rows at a time."""
        days = request.days.get(KeptKind.LINEAGE_EVENTS)
        if days is None and (request.is_dry or not plan.found.old):
            return None
        asked = retention.RetentionRecord(
            event_key=self._key(plan, 1),
            kinds=plan.kinds,
            report_path=str(plan.report),
            report_digest=plan.digest,
            lineage_before=None if days is None else plan.now - timedelta(days=days),
            holds=plan.holds,
            in_service=() if days is None else await self._in_service(),
            is_dry=request.is_dry,
        )
        removed, size, number = 0, 0, 0
        while True:
            number += 1
            body = asked.model_copy(update={"event_key": self._key(plan, number)}).model_dump_json()
            path = f"/api/v1/projects/{request.project}/retentions"
            told = retention.RetentionRecorded.model_validate(
                await exchange(self._control, "control", "POST", path, body)
            )
            if told.lineage is None:
                return None
            removed, size = removed + told.lineage.removed, size + told.lineage.bytes
            if not told.has_more:
                return told.lineage.model_copy(update={"removed": removed, "bytes": size})

    @staticmethod
    def _key(plan: _Plan, number: int) -> str:
        """The same for another attempt that finds the same."""
        return f"{activity.info().workflow_run_id}/{plan.digest}/{number}"

    async def _in_service(self) -> tuple[str, ...]:
        """The bundles that traffic names. Errors: DependencyDown: what is in service must be known."""
        views = _ENDPOINTS.validate_python(await exchange(self._serving, "serving", "GET", "/v1/endpoints"))
        named = {d for view in views for d in (view.traffic.stable, view.traffic.canary, view.traffic.shadow)}
        return tuple(sorted(digest for digest in named if digest))

    async def _take(
        self, request: retention.RetentionRequest, plan: _Plan
    ) -> tuple[retention.RemovedKind, ...]:
        """What is on record goes, some files at a time, but for what is held by then.

        Errors: DependencyDown for a file that cannot be removed, or where nobody says what is held; then the rest stays.
        """
        if request.is_dry:
            return plan.kinds
        found, holds, sizes = plan.found, plan.holds, dict[Path, int]()
        while todo := [item for item in found.old if item.path not in sizes][:_CHUNK]:
            with temporal_errors.typed():
                fresh = await self._holds(request)
            if fresh != holds:
                holds = fresh
                found = await in_thread(partial(self._spared, request, plan, holds, sizes))
                continue
            sizes |= await in_thread(partial(_removed, todo))
        await in_thread(lambda: self._sweep(request))
        return _kinds(request, found, sizes)

    def _spared(
        self,
        request: retention.RetentionRequest,
        plan: _Plan,
        holds: tuple[retention.LegalHold, ...],
        gone: Collection[Path],
    ) -> kept.Sorted:
        """The plan as of these holds. What they keep, and what that needs, is held; nothing else goes than was on record."""
        now = {item.path for item in self._sorted(request, plan.under_way, holds, plan.now).old}
        old = tuple(item for item in plan.found.old if item.path in gone or item.path in now)
        spared = tuple(item for item in plan.found.old if item.path not in gone and item.path not in now)
        return kept.Sorted(old, (*plan.found.held, *spared), plan.found.kept)

    def _sweep(self, request: retention.RetentionRequest) -> None:
        """What was hidden goes for good. Errors: DependencyDown."""
        pipelines = self._store(request).root
        hiding = (pipelines / "runs", *pipelines.glob("cache/[!.]*"), *pipelines.glob("objects/[!.]*"))
        quarantines = self._space(request).root.glob("*.quarantine")
        with _told():
            for folder in (*quarantines, *hiding, self._job_logs(request)):
                kept.sweep(folder)

    def _space(self, request: retention.RetentionRequest) -> workspace.Workspace:
        return workspace.Workspace(self._settings.stack.state_dir, request.project, request.sample_fraction)

    def _job_logs(self, request: retention.RetentionRequest) -> Path:
        return job_logs.JobLogs.of(self._settings.stack.state_dir, request.project).root

    def _store(self, request: retention.RetentionRequest) -> PipelineStore:
        return PipelineStore.of(self._settings.stack.state_dir.absolute(), request.project)


def _removed(items: Sequence[kept.Item]) -> dict[Path, int]:
    """Their sizes. Errors: DependencyDown."""
    with _told():
        return {item.path: kept.remove(item) for item in items}


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.DependencyDown(
            f"`{error.filename}` cannot be removed: {error.strerror}; let the worker's user remove files there",
            name="disk",
        ) from error


def _kinds(
    request: retention.RetentionRequest, found: kept.Sorted, sizes: dict[Path, int]
) -> tuple[retention.RemovedKind, ...]:
    return tuple(
        retention.RemovedKind(
            kind=kind,
            removed=sum(i.kind is kind for i in found.old),
            bytes=sum(sizes[i.path] for i in found.old if i.kind is kind),
            held=sum(i.kind is kind for i in found.held),
            kept=sum(i.kind is kind for i in found.kept),
        )
        for kind in request.days
        if kind is not KeptKind.LINEAGE_EVENTS
    )


def _report(
    request: retention.RetentionRequest, holds: Sequence[retention.LegalHold], found: kept.Sorted
) -> dict[str, Any]:
    return {
        "request": request.model_dump(mode="json"),
        "holds": [hold.model_dump(mode="json") for hold in holds],
        "removed": [str(item.path) for item in found.old],
        "held": [str(item.path) for item in found.held],
    }
