"""`mainspring.RunPipeline.v1`: the nodes of a built pipeline, each as soon as what it needs is there.

No clock, no randomness, no I/O. A node that fails ends what needs it and nothing else: what was done stays in the cache.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import exceptions, workflow
from temporalio.workflow import ActivityConfig

with workflow.unsafe.imports_passed_through():
    from mainspring.core import errors
    from mainspring.core.contracts import pipelines, training
    from mainspring.core.contracts.base import Message
    from mainspring.core.contracts.pipelines import NodeState, Value
    from mainspring.core.contracts.training import Stage
    from mainspring.workflows import cancellation, options, run_log
    from mainspring.workflows import errors as temporal_errors
    from mainspring.workflows.deployment import messages as deployment_messages
    from mainspring.workflows.pipelines import deciding, messages, progress, retrying

M = TypeVar("M", bound=Message)


@workflow.defn(name=pipelines.PIPELINE_WORKFLOW)
class RunPipeline:
    @workflow.init
    def __init__(self, request: pipelines.PipelineRequest) -> None:
        self._request = request
        self._progress = progress.Progress(request.run_id)
        self._gates = deciding.Gates(request.requested_by, request.prompted_by)
        self._result = pipelines.PipelineResult(run_id=request.run_id, stage=Stage.PENDING, pack=request.pack)
        self._made: dict[str, Value] = {}
        self._errors: dict[str, errors.MainspringError] = {}
        self._places = asyncio.Semaphore(request.max_parallel)

    @workflow.query(name=training.STATUS_QUERY)
    def status(self) -> training.RunStatus:
        return self._progress.status()

    @workflow.update(name=training.DECIDE_UPDATE)
    def decide(self, decision: training.Decision) -> training.RunStatus:
        """Answers at once: whoever asks may hold what the run's next report has to wait for."""
        gate = self._gates.take(decision)
        self._progress.says(gate.name, f"{gate.given} of {gate.asked.count} approved")
        return self._progress.status()

    @decide.validator
    def _check_decision(self, decision: training.Decision) -> None:
        try:
            self._gates.check(decision, self._request.run_id)
        except errors.MainspringError as error:
            raise temporal_errors.to_failure(error) from error

    @workflow.run
    async def run(self, request: pipelines.PipelineRequest) -> pipelines.PipelineResult:
        try:
            stage, message = await self._pipeline()
        except (errors.MainspringError, exceptions.FailureError, asyncio.CancelledError) as failure:
            cancelled = exceptions.is_cancelled_exception(failure)
            error = None if cancelled else temporal_errors.from_failure(failure)
            why = "cancelled" if error is None else error.message
            await cancellation.through(self._end(Stage.CANCELLED if cancelled else Stage.FAILED, why, error))
            if error is None:
                raise
            raise temporal_errors.to_failure(error) from failure
        await cancellation.through(self._end(stage, message))
        return self._result

    async def _pipeline(self) -> tuple[Stage, str]:
        """Errors: of the first node that failed, in the pipeline's own order."""
        loaded = await self._do(messages.LOAD, self._request, messages.Graph)
        graph = pipelines.PipelineGraph.model_validate_json(loaded.graph)
        again = graph.after(frozenset(self._request.again_from))
        self._keep(pipeline=graph.name)
        self._progress.begin(graph)
        # Each waits for those that it needs, which stand before it: nobody waits for himself.
        tasks: dict[str, asyncio.Task[None]] = {}
        for node in graph.nodes:
            needed = [tasks[name] for name in node.needs]
            is_again = node.name in again or not self._request.use_cache
            tasks[node.name] = asyncio.create_task(self._node(node, needed, is_again))
        await asyncio.gather(*tasks.values())
        for node in graph.nodes:
            if node.name in self._errors:
                raise self._errors[node.name]
        if rejected := self._gates.rejection:
            return Stage.REJECTED, rejected
        answers = {
            name: progress.brief(self._made[one.node].at(one.path)) for name, one in graph.answers.items()
        }
        self._keep(answers=answers)
        return Stage.DONE, self._progress.summary()

    async def _node(self, node: pipelines.Node, needed: list[asyncio.Task[None]], is_again: bool) -> None:
        """Its answer is in `_made` then, or its error in `_errors`, or neither where something before it did not come."""
        if needed:
            await workflow.wait(needed)
        if any(name not in self._made for name in node.needs):
            self._progress.state(node.name, NodeState.SKIPPED)
            return
        inputs = pipelines.resolved(node.inputs, self._made)
        try:
            if node.approval is not None:
                await self._approve(node, node.approval, inputs["value"])
            else:
                await self._step(node, inputs, is_again)
        except (errors.MainspringError, exceptions.FailureError) as failure:
            if exceptions.is_cancelled_exception(failure):
                raise
            self._errors[node.name] = temporal_errors.from_failure(failure)
            self._progress.state(node.name, NodeState.FAILED, self._errors[node.name].message)

    async def _approve(self, node: pipelines.Node, asked: pipelines.Approval, value: Value) -> None:
        gate = self._gates.open(node.name, asked, workflow.time())
        timeout = timedelta(seconds=asked.timeout_seconds)
        waits = f"waits for {asked.count} of role `{asked.role}`, for {timeout}"
        self._progress.state(node.name, NodeState.APPROVAL, waits)
        while not gate.is_over:
            left = timedelta(seconds=gate.seconds_left(workflow.time()))
            try:
                await workflow.wait_condition(lambda: gate.has_news, timeout=left)
            except TimeoutError:
                gate.lapse(timeout)
            for decision in gate.news():
                detail = {"value": value.digest, **decision.model_dump(mode="json")}
                await self._report("approval.decide", f"{node.name}/{decision.by}", detail, actor=decision.by)
        self._progress.approved(node.name, gate)
        if gate.is_approved:
            self._made[node.name] = value

    async def _step(self, node: pipelines.Node, inputs: dict[str, Value], is_again: bool) -> None:
        self._progress.state(node.name, NodeState.RUNNING)
        asked = messages.Find(request=self._request, node=node.name, inputs=inputs, is_again=is_again)
        found = await self._do(messages.FIND, asked, messages.Found)
        self._progress.found(node.name, found)
        items: dict[int, Value] = {i: seen.value for i, seen in enumerate(found.items) if seen.value}
        missing = [i for i in range(len(found.items)) if i not in items]
        values = await asyncio.gather(
            *(self._item(node, inputs, i if node.each else None) for i in missing), return_exceptions=True
        )
        # One item's error waits for the others' ends: their answers stay in the cache.
        for i, value in zip(missing, values, strict=True):
            if isinstance(value, BaseException):
                raise value
            items[i] = value
        made = [items[i] for i in range(len(found.items))]
        self._made[node.name] = Value.of_items(made) if node.each else made[0]
        self._progress.done(node.name)

    async def _item(self, node: pipelines.Node, inputs: dict[str, Value], index: int | None) -> Value:
        """Try until it answers, or is not worth another try. Errors: the step's own; JobFailed."""
        own = inputs if index is None else {**inputs, node.each: inputs[node.each].items[index]}
        tries: retrying.Tries | None = retrying.Tries(memory_gib=node.resources.memory_gib)
        while True:
            assert tries is not None
            asked = messages.RunStep(
                request=self._request,
                node=node.name,
                inputs=own,
                index=index,
                attempt=tries.jobs,
                memory_gib=tries.memory_gib,
            )
            async with self._places:
                ran = await self._do(messages.RUN, asked, messages.Ran, options.LONG)
            self._progress.ran(node.name, ran)
            if ran.value is not None:
                return ran.value
            tries = tries.after(node, ran)
            if tries is None:
                raise retrying.failed(node.name if index is None else f"{node.name}[{index}]", ran)
            if tries.pause_seconds:
                await workflow.sleep(tries.pause_seconds)

    async def _do(
        self, name: str, asked: Message, answer: type[M], config: ActivityConfig = options.WORK
    ) -> M:
        result: M = await workflow.execute_activity(name, asked, result_type=answer, **config)
        cancellation.notice()
        return result

    async def _report(
        self, action: str, step: str, detail: dict[str, Any], *, actor: str | None = None
    ) -> None:
        event = training.RunEvent(
            event_key=run_log.event_key(self._request.run_id, step),
            run_id=self._request.run_id,
            action=action,
            actor=actor or self._request.requested_by,
            detail=detail,
        )
        await workflow.execute_activity(
            deployment_messages.REPORT_EVENT,
            deployment_messages.ReportEvent(event=event),
            **options.INSIST,
        )

    def _keep(self, **found: Any) -> None:
        self._result = self._result.model_copy(update=found)

    async def _end(self, stage: Stage, message: str, error: errors.MainspringError | None = None) -> None:
        """On record first, so that whoever sees the end finds its result there."""
        self._keep(stage=stage, message=message, nodes=self._progress.nodes(), steps=self._progress.steps)
        detail = {"stage": str(stage), "message": message, "result": self._result.model_dump(mode="json")}
        try:
            await self._report("run.end", "end", detail)
        except exceptions.FailureError as failure:
            message += f"; the end is not on record: {temporal_errors.from_failure(failure).message}"
            self._keep(message=message)
        self._progress.end(stage, message, error)
