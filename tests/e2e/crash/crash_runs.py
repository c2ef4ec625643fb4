"""Runs of the three kinds that are hit, as people start them, and what each of them did."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import crash_bundles
import crash_effects
import crash_strike
import e2e_stack
from crash_boundaries import WORKER, Order
from crash_world import PROJECT, World

from mainspring.core.client import connection
from mainspring.core.contracts import canaries, control, deployment

#: Of the flights: seconds for a training's data steps.
FRACTION = 0.01
#: Less data or fewer epochs do not pass the project's gates.
_TRAIN_FRACTION, _TRAIN_EPOCHS = 0.02, 2
DEPLOY, TRAIN, CANCEL, PAUSE, WAIT = "deploy", "train", "cancel", "pause", "wait"
_DEVELOPER = "developer@local"
_PROBES = 60
#: Those that wait in their first canary until somebody ends it, and how they end then.
_WAITING = {CANCEL: "cancelled", PAUSE: "rolled_back"}
#: One that another waits for is in its canary for longer than a worker or a server is away.
_AHEAD_SECONDS = 30.0
#: So often a run is started again whose canary was taken for slow.
_TRIES = 4

PARTS = {
    DEPLOY: ("temporal", "control", "serving"),
    CANCEL: ("temporal", "control", "serving"),
    PAUSE: ("temporal", "control", "serving"),
    WAIT: ("temporal", "control", "serving"),
    TRAIN: ("temporal", "mlflow", "ray", "control", "serving"),
}


@dataclasses.dataclass
class Runs:
    """Runs of one kind over one world, which are all alike; the first of them nobody hits.

    `deploy`: a bundle through three canaries over another one. `cancel`: the same, cancelled in its first canary. `pause`:
    paused there, and aborted. `wait`: behind another one, which goes back from its first canary.
    `train`: a training that is deployed to an endpoint of its own.
    """

    world: World
    kind: str
    bundles: list[str] = dataclasses.field(default_factory=list)
    wanted: crash_effects.Effects = dataclasses.field(default_factory=dict)
    points: list[str] = dataclasses.field(default_factory=list)
    undisturbed_seconds: float = 0.0
    count: int = 0

    @classmethod
    def begin(cls, world: World, kind: str) -> Runs:
        runs = cls(world, kind)
        if kind != TRAIN:
            runs.bundles = crash_bundles.untrained(world.s, PROJECT, FRACTION, seeds=(1, 2))
            crash_bundles.record_probes(world.s, PROJECT, FRACTION, rows=_PROBES)
        if kind != TRAIN and crash_effects.traffic(world, runs.endpoint) is None:
            # The first has an empty endpoint before it, and no canary.
            cls(world, DEPLOY, runs.bundles).run(None)
        story, runs.wanted, _ = runs.run(None)
        assert runs.wanted["stage"] == _WAITING.get(kind, "done"), runs.wanted
        runs.points, runs.undisturbed_seconds = crash_strike.points(story), story.seconds
        return runs

    @property
    def endpoint(self) -> str:
        return f"crash-{self.count}" if self.kind == TRAIN else "crash"

    def hit(self, order: Order | None, sudden: Sequence[crash_strike.Sudden] = ()) -> dict[str, Any]:
        """A run under this order, as the report has it; `different` is empty where all is well."""
        story, effects, slow = self.run(order, sudden)
        wanted = dict(self.wanted)
        if effects.get("jobs") == [] and any(hit.victim == "ray" for hit in story.hits):
            # A head's books die with it; that nothing was done twice, usage and registry say.
            wanted["jobs"] = []
        return {
            "seconds": round(story.seconds, 1),
            "stage": effects["stage"],
            "taken_for_slow_before": slow,
            "hits": [dataclasses.asdict(hit) for hit in story.hits],
            "different": crash_effects.different(effects, wanted),
        }

    def run(
        self, order: Order | None, sudden: Sequence[crash_strike.Sudden] = ()
    ) -> tuple[crash_strike.Story, crash_effects.Effects, int]:
        """One run, all that it did, and how many were started before it for nothing: on a busy machine a canary may look
        slower than its equal, and goes back as it should."""
        slow = 0
        while True:
            story, effects, message = self._run_once(order, sudden)
            if slow == _TRIES or "stable's in the same window" not in message:
                return story, effects, slow
            slow += 1

    def _run_once(
        self, order: Order | None, sudden: Sequence[crash_strike.Sudden]
    ) -> tuple[crash_strike.Story, crash_effects.Effects, str]:
        self.count += 1
        before = crash_effects.traffic(self.world, self.endpoint)
        stable, version = ("", 0) if before is None else (before.stable, before.version)
        story = crash_strike.tell(self.world, order, lambda _: self._start(stable), sudden=sudden)
        run = self.world.developer.run(story.run_id)
        digest = str(run.result.get("bundle_digest", "")) if self.kind == TRAIN else self._other(stable)
        effects = crash_effects.of(self.world, run, endpoint=self.endpoint, before=version, digest=digest)
        return story, effects, str(run.result.get("message", ""))

    def _other(self, stable: str) -> str:
        return next(digest for digest in self.bundles if digest != stable)

    def _start(self, stable: str) -> str:
        if self.kind == TRAIN:
            return self._start_training()
        if self.kind == WAIT:
            return self._start_behind(self._other(stable))
        stays_seconds = 60.0 if self.kind in _WAITING else 0.0
        run_id = self._start_deployment(self._other(stable), stays_seconds=stays_seconds)
        if self.kind in _WAITING:
            e2e_stack.wait(self._has_canary, 120, "the first canary")
        if self.kind == CANCEL:
            self.world.developer.cancel(run_id)
        if self.kind == PAUSE:
            self.world.developer.steer(run_id, canaries.CanaryOrder.PAUSE, reason="a look")
            e2e_stack.wait(self._is_watched, 120, "a worker that looks at the paused canary")
            self.world.developer.steer(run_id, canaries.CanaryOrder.ABORT, reason="seen enough")
        return run_id

    def _start_behind(self, digest: str) -> str:
        """Of one that nobody asks anything in its canary, so that it goes back when its time is up."""
        self._start_deployment(digest, stays_seconds=_AHEAD_SECONDS)
        e2e_stack.wait(self._has_canary, 120, "the first canary")
        return self._start_deployment(digest)

    def _start_training(self) -> str:
        asked = control.RunCreate(
            project=PROJECT,
            endpoint=self.endpoint,
            sample_fraction=_TRAIN_FRACTION,
            epochs=_TRAIN_EPOCHS,
            auto_approve_by=_DEVELOPER,
        )
        return self.world.developer.create_run(asked).run_id

    def _start_deployment(self, digest: str, *, stays_seconds: float = 0.0) -> str:
        """`stays_seconds`: in its first canary, until somebody ends it."""
        asked = control.RunCreate(
            project=PROJECT,
            kind=control.RunKind.DEPLOY,
            endpoint=self.endpoint,
            bundle_digest=digest,
            sample_fraction=FRACTION,
        )
        run_id = self.world.developer.create_run(asked).run_id
        request = deployment.DeployRequest(
            run_id=run_id,
            project=asked.project,
            endpoint=asked.endpoint,
            bundle_digest=digest,
            requested_by=_DEVELOPER,
            # One look at each canary, and no verdict on who is slower, which a busy machine would give.
            probe_rows=0 if stays_seconds else _PROBES,
            step_seconds=stays_seconds or 5.0,
            min_samples=1,
            max_latency_ratio=1e6,
        )
        asyncio.run(_start_instead(self.world, request))
        return run_id

    def _has_canary(self) -> bool:
        trace = self.world.boundaries.trace()
        return any(p.point == "run.report_event 1.1" and p.side == "after" for p in trace)

    def _is_watched(self) -> bool:
        """By one that nobody kills any more."""
        boundaries = self.world.boundaries
        looks = [p for p in boundaries.trace() if p.name == "endpoint.watch" and p.side == "before"]
        return any(p.hit is None for p in looks)

    def sudden(self, chance: random.Random, count: int) -> list[crash_strike.Sudden]:
        """`count` kills of anybody, anywhere in the time that an undisturbed run takes."""
        victims = (WORKER, *PARTS[self.kind])
        found = (
            crash_strike.Sudden(chance.uniform(0, self.undisturbed_seconds), chance.choice(victims))
            for _ in range(count)
        )
        return sorted(found, key=lambda one: one.at_seconds)


async def _start_instead(world: World, request: deployment.DeployRequest) -> None:
    """The control API's own request waits in a queue that nobody polls: end it, and start this one under its id."""
    client = await connection.connect_by(world.s.workflow)
    await client.get_workflow_handle(request.run_id).terminate()
    await client.start_workflow(
        deployment.DEPLOY_WORKFLOW, request, id=request.run_id, task_queue=world.s.workflow.task_queue
    )
