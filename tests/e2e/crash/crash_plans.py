"""Which runs are hit where: every plan is a kind of run, a victim, and the points at which it is killed."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

import crash_bundles
import crash_effects
import crash_strike
from crash_boundaries import WORKER, Order
from crash_world import PROJECT, World

from mainspring.core.client import connection
from mainspring.core.contracts import control, deployment

#: Of the flights: seconds for a training's data steps.
FRACTION = 0.01
ENDPOINT = "crash"
DEPLOY, TRAIN = "deploy", "train"
SIDES = ("before", "after")
_TRIES = 4
_PROBES = 60

PARTS = {
    DEPLOY: ("temporal", "control", "serving"),
    TRAIN: ("temporal", "mlflow", "ray", "control", "serving"),
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """One run that is hit at each of its points in turn. `only`: words of which a point has one."""

    kind: str
    victim: str
    side: str
    only: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.victim}-{self.side}"

    def order(self, points: Sequence[str]) -> Order:
        chosen = (p for p in points if not self.only or any(word in p for word in self.only))
        return Order(self.victim, self.side, tuple(chosen))


PLANS = {
    plan.name: plan
    for side in SIDES
    for plan in (
        *(Plan(DEPLOY, victim, side) for victim in (WORKER, *PARTS[DEPLOY])),
        *(Plan(TRAIN, victim, side) for victim in (WORKER, "temporal", "control")),
        Plan(TRAIN, "mlflow", side, only=("register", "set_champion")),
        Plan(TRAIN, "ray", side, only=("training.train", "report_usage", "training.evaluate")),
    )
}


@dataclasses.dataclass
class Runs:
    """Runs of one kind over one world, each with what it did; the first of them nobody hits."""

    world: World
    kind: str
    bundles: list[str] = dataclasses.field(default_factory=list)
    wanted: crash_effects.Effects = dataclasses.field(default_factory=dict)
    points: list[str] = dataclasses.field(default_factory=list)
    undisturbed_seconds: float = 0.0

    @classmethod
    def begin(cls, world: World, kind: str) -> Runs:
        runs = cls(world, kind)
        if kind == DEPLOY:
            runs.bundles = crash_bundles.untrained(world.s, PROJECT, FRACTION, seeds=(1, 2))
            crash_bundles.record_probes(world.s, PROJECT, FRACTION, rows=_PROBES)
        # The first has an empty endpoint before it, which takes another way than all that follow.
        for _ in range(2):
            story, runs.wanted, _ = runs.run(None)
            assert runs.wanted["stage"] == "done", runs.wanted
        runs.points, runs.undisturbed_seconds = crash_strike.points(story), story.seconds
        return runs

    def run(self, order: Order | None) -> tuple[crash_strike.Story, crash_effects.Effects, int]:
        """One run, all that it did, and how many were started before it for nothing: on a busy machine a canary may look
        slower than its equal, and goes back as it should."""
        slow = 0
        while True:
            story, effects, message = self._run_once(order)
            if slow == _TRIES or "stable's in the same window" not in message:
                return story, effects, slow
            slow += 1

    def _run_once(self, order: Order | None) -> tuple[crash_strike.Story, crash_effects.Effects, str]:
        before = crash_effects.traffic(self.world, ENDPOINT)
        asked = self._asked("" if before is None else before.stable)
        story = crash_strike.tell(self.world, order, lambda world: self._start(world, asked))
        run = self.world.developer.run(story.run_id)
        digest = asked.bundle_digest or str(run.result.get("bundle_digest", ""))
        version = 0 if before is None else before.version
        effects = crash_effects.of(self.world, run, endpoint=ENDPOINT, before=version, digest=digest)
        return story, effects, str(run.result.get("message", ""))

    def _start(self, world: World, asked: control.RunCreate) -> str:
        run_id = world.developer.create_run(asked).run_id
        if asked.bundle_digest is not None:
            request = deployment.DeployRequest(
                run_id=run_id,
                project=asked.project,
                endpoint=asked.endpoint,
                bundle_digest=asked.bundle_digest,
                requested_by="developer@local",
                # One look at each canary, and no verdict on who is slower, which a busy machine would give.
                probe_rows=_PROBES,
                min_samples=1,
                max_latency_ratio=1e6,
            )
            asyncio.run(_start_instead(world, request))
        return run_id

    def _asked(self, stable: str) -> control.RunCreate:
        if self.kind == DEPLOY:
            return control.RunCreate(
                project=PROJECT,
                kind=control.RunKind.DEPLOY,
                endpoint=ENDPOINT,
                bundle_digest=next(digest for digest in self.bundles if digest != stable),
                sample_fraction=FRACTION,
            )
        return control.RunCreate(
            project=PROJECT,
            endpoint=ENDPOINT,
            sample_fraction=FRACTION,
            epochs=1,
            auto_approve_by="developer@local",
        )

    def hit(self, order: Order) -> dict[str, Any]:
        """A run under this order, as the report has it; `different` is empty where all is well."""
        story, effects, slow = self.run(order)
        return {
            "victim": order.victim,
            "side": order.side,
            "seconds": round(story.seconds, 1),
            "stage": effects["stage"],
            "taken_for_slow_before": slow,
            "hits": [crash_strike.as_json(hit) for hit in story.hits],
            "different": crash_effects.different(effects, self.wanted),
        }


async def _start_instead(world: World, request: deployment.DeployRequest) -> None:
    """The control API's own request waits in a queue that nobody polls: end it, and start this one under its id."""
    client = await connection.connect_by(world.s.workflow)
    await client.get_workflow_handle(request.run_id).terminate()
    await client.start_workflow(
        deployment.DEPLOY_WORKFLOW, request, id=request.run_id, task_queue=world.s.workflow.task_queue
    )
