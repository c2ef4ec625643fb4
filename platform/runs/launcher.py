"""Where runs execute: the port, and the launcher of tests and dry walks that keeps runs in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from mainspring.core import errors
from mainspring.core.contracts import (
    access_requests,
    canaries,
    deployment,
    erasure,
    keys,
    pipelines,
    progress,
    releasing,
    retiring,
    scoring,
    training,
    tuning,
)

#: What starts a run.
Request: TypeAlias = (
    training.TrainRequest
    | deployment.DeployRequest
    | scoring.ScoreRequest
    | tuning.TuneRequest
    | pipelines.PipelineRequest
    | retiring.RetireRequest
    | releasing.ReleaseRequest
)


class RunLauncher(Protocol):
    """Starts and steers workflow executions by run id.

    Starting is idempotent: the same run id again is no second execution, but of one that failed. Every method raises DependencyDown when
    the engine does not answer, and all but the starts raise NotFound for a run it does not know.
    """

    async def start_training(self, request: training.TrainRequest) -> object: ...

    async def start_deployment(self, request: deployment.DeployRequest) -> object: ...

    async def start_scoring(self, request: scoring.ScoreRequest) -> object: ...

    async def start_tuning(self, request: tuning.TuneRequest) -> object: ...

    async def start_retiring(self, request: retiring.RetireRequest) -> object: ...

    async def start_releasing(self, request: releasing.ReleaseRequest) -> object: ...

    async def start_expiry(self, request: access_requests.ExpireRequest) -> object:
        """End access at its time; the same again, also after its end, is no second one."""
        ...

    async def start_pipeline(self, request: pipelines.PipelineRequest) -> object: ...

    async def start_erasure(self, request: erasure.EraseRequest) -> object:
        """It waits for its decision then, by `decide`."""
        ...

    async def start_key_change(self, request: keys.KeyRequest) -> object:
        """Errors: Conflict while one of that id is under way: it is no repetition."""
        ...

    async def status(self, run_id: str) -> training.RunStatus: ...

    async def decide(self, run_id: str, decision: training.Decision, *, intent_id: str) -> object:
        """The same `intent_id` again gives the first answer. Errors: Conflict if the run waits for no decision."""
        ...

    async def cancel(self, run_id: str) -> None: ...

    async def steer(self, run_id: str, order: canaries.CanaryOrder, asked: canaries.Steer) -> object:
        """Order something of a deployment's canary; the same `order_id` again gives the first answer.

        Errors: Conflict where there is nothing to order, InvalidRequest, PolicyDenied.
        """
        ...


class MemoryLauncher:
    """Runs that go where they are told: a start waits for approval, a decision ends it. One event loop."""

    def __init__(self) -> None:
        self.started: dict[str, Request] = {}
        self.decisions: dict[str, training.Decision] = {}
        self._stages: dict[str, training.Stage] = {}
        self._taken: set[str] = set()
        self.expiries: dict[str, access_requests.ExpireRequest] = {}
        self.key_changes: dict[str, keys.KeyRequest] = {}
        self.erasures: dict[str, erasure.EraseRequest] = {}
        self.canaries: dict[str, canaries.CanaryState] = {}
        self.orders: list[tuple[str, canaries.CanaryOrder, canaries.Steer]] = []
        self.under_way: dict[str, list[progress.StepProgress]] = {}
        self.is_down = False

    async def start_training(self, request: training.TrainRequest) -> None:
        self._start(request)

    async def start_deployment(self, request: deployment.DeployRequest) -> None:
        self._start(request)

    async def start_scoring(self, request: scoring.ScoreRequest) -> None:
        self._start(request)

    async def start_tuning(self, request: tuning.TuneRequest) -> None:
        self._start(request)

    async def start_retiring(self, request: retiring.RetireRequest) -> None:
        self._start(request)

    async def start_releasing(self, request: releasing.ReleaseRequest) -> None:
        self._start(request)

    async def start_expiry(self, request: access_requests.ExpireRequest) -> None:
        """Kept, and never due by itself."""
        self._check_up()
        self.expiries.setdefault(access_requests.expiry_id(request), request)

    async def start_pipeline(self, request: pipelines.PipelineRequest) -> None:
        self._start(request)

    async def start_erasure(self, request: erasure.EraseRequest) -> None:
        self._check_up()
        if self.erasures.setdefault(request.erasure_id, request) is request:
            self._stages[request.erasure_id] = training.Stage.APPROVAL

    async def start_key_change(self, request: keys.KeyRequest) -> None:
        """Under way from then on."""
        self._check_up()
        if request.change_id in self.key_changes:
            raise errors.Conflict(
                f"`{request.change_id}` is under way; look at it first",
                resource="key",
                name=request.change_id,
            )
        self.key_changes[request.change_id] = request
        self._stages[request.change_id] = training.Stage.PLAN

    def _start(self, request: Request) -> None:
        self._check_up()
        if self._stages.get(request.run_id) in (None, training.Stage.FAILED):
            self.started[request.run_id] = request
            self._stages[request.run_id] = training.Stage.APPROVAL

    async def status(self, run_id: str) -> training.RunStatus:
        steps = self.under_way.get(run_id, [])
        told = training.RunStatus(
            run_id=run_id,
            stage=self._stage(run_id),
            progress=steps[0].fraction if len(steps) == 1 else 0.0,
            step_progress=steps,
        )
        known = self.canaries.get(run_id)
        if known is None or not (known.percent or known.is_shadow or known.is_waiting):
            return told
        return told.model_copy(update={"detail": {canaries.CANARY_DETAIL: known.model_dump(mode="json")}})

    async def decide(self, run_id: str, decision: training.Decision, *, intent_id: str) -> None:
        if intent_id in self._taken:
            return
        if (stage := self._stage(run_id)) is not training.Stage.APPROVAL:
            raise errors.Conflict(
                f"run `{run_id}` is at `{stage}` and waits for no decision; look at it first",
                resource="run",
                name=run_id,
            )
        self._taken.add(intent_id)
        self.decisions[run_id] = decision
        self._stages[run_id] = training.Stage.DONE if decision.approve else training.Stage.REJECTED

    async def cancel(self, run_id: str) -> None:
        if self._stage(run_id) is not training.Stage.APPROVAL:
            raise errors.NotFound(f"run `{run_id}` has ended; see its result", resource="run", name=run_id)
        self._stages[run_id] = training.Stage.CANCELLED

    def judge(self, deployment_id: str, percent: int, *, is_shadow: bool = False) -> None:
        """A canary of that deployment is at that share; 0: none is judged, but as a shadow."""
        is_judged = is_shadow or percent > 0
        self._stages[deployment_id] = training.Stage.CANARY if is_judged else training.Stage.DONE
        later = tuple(share for share in (5, 25, 50) if share > percent)
        self.canaries[deployment_id] = canaries.CanaryState(
            percent=percent, is_shadow=is_shadow, later_percents=later
        )

    def wait(self, deployment_id: str) -> None:
        """Others are before that deployment."""
        self._stages[deployment_id] = training.Stage.PENDING
        self.canaries[deployment_id] = canaries.CanaryState(percent=0, is_waiting=True)

    async def steer(self, run_id: str, order: canaries.CanaryOrder, asked: canaries.Steer) -> None:
        self._stage(run_id)
        if asked.order_id in self._taken:
            return
        known = self.canaries.get(run_id)
        is_known = known is not None and (known.percent or known.is_shadow)
        may_abort = known is not None and known.is_waiting and order is canaries.CanaryOrder.ABORT
        if known is None or not (is_known or may_abort):
            raise errors.Conflict(
                f"run `{run_id}` judges no canary now; look at it first", resource="run", name=run_id
            )
        self._taken.add(asked.order_id)
        self.orders.append((run_id, order, asked))
        if order in (canaries.CanaryOrder.PAUSE, canaries.CanaryOrder.RESUME):
            told = {"is_paused": order is canaries.CanaryOrder.PAUSE, "paused_by": asked.by}
            self.canaries[run_id] = known.model_copy(update=told)
        elif order is canaries.CanaryOrder.PROMOTE:
            to = asked.to_percent or (*known.later_percents, 100)[0]
            self.judge(run_id, 0 if to == 100 else to)
        else:
            self.judge(run_id, 0)
            self._stages[run_id] = training.Stage.ROLLED_BACK

    def work(self, run_id: str, *steps: progress.StepProgress) -> None:
        """These steps are under way now; none: it waits for approval again."""
        self.under_way[run_id] = list(steps)
        self._stages[run_id] = training.Stage(steps[0].step) if steps else training.Stage.APPROVAL

    def fail(self, run_id: str) -> None:
        """It ends with an error; the same run may be started again."""
        self._stages[run_id] = training.Stage.FAILED

    def _stage(self, run_id: str) -> training.Stage:
        self._check_up()
        if run_id not in self._stages:
            raise errors.NotFound(
                f"no run `{run_id}` was launched; start it first", resource="run", name=run_id
            )
        return self._stages[run_id]

    def _check_up(self) -> None:
        if self.is_down:
            raise errors.DependencyDown("the launcher is down; start it and try again", name="launcher")


Connect: TypeAlias = Callable[[], Awaitable[RunLauncher]]


class LazyLauncher:
    """Connects to the engine when a run first needs it, and again after a failed try. One event loop.

    So the control API starts, and answers all that needs no engine, while the engine is away.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._connected: RunLauncher | None = None
        self._connecting = asyncio.Lock()

    async def start_training(self, request: training.TrainRequest) -> None:
        await (await self._engine()).start_training(request)

    async def start_deployment(self, request: deployment.DeployRequest) -> None:
        await (await self._engine()).start_deployment(request)

    async def start_scoring(self, request: scoring.ScoreRequest) -> None:
        await (await self._engine()).start_scoring(request)

    async def start_tuning(self, request: tuning.TuneRequest) -> None:
        await (await self._engine()).start_tuning(request)

    async def start_retiring(self, request: retiring.RetireRequest) -> None:
        await (await self._engine()).start_retiring(request)

    async def start_releasing(self, request: releasing.ReleaseRequest) -> None:
        await (await self._engine()).start_releasing(request)

    async def start_expiry(self, request: access_requests.ExpireRequest) -> None:
        await (await self._engine()).start_expiry(request)

    async def start_pipeline(self, request: pipelines.PipelineRequest) -> None:
        await (await self._engine()).start_pipeline(request)

    async def start_erasure(self, request: erasure.EraseRequest) -> None:
        await (await self._engine()).start_erasure(request)

    async def start_key_change(self, request: keys.KeyRequest) -> None:
        await (await self._engine()).start_key_change(request)

    async def status(self, run_id: str) -> training.RunStatus:
        return await (await self._engine()).status(run_id)

    async def decide(self, run_id: str, decision: training.Decision, *, intent_id: str) -> None:
        await (await self._engine()).decide(run_id, decision, intent_id=intent_id)

    async def cancel(self, run_id: str) -> None:
        await (await self._engine()).cancel(run_id)

    async def steer(self, run_id: str, order: canaries.CanaryOrder, asked: canaries.Steer) -> None:
        await (await self._engine()).steer(run_id, order, asked)

    async def _engine(self) -> RunLauncher:
        async with self._connecting:
            if self._connected is None:
                self._connected = await self._connect()
            return self._connected
