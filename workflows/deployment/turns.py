"""A deployment's turn at its endpoint: how it waits for it, what is told of that meanwhile, and that it gives it back."""

from __future__ import annotations

import contextlib
import math
from typing import Any, Final

from temporalio import exceptions, workflow

with workflow.unsafe.imports_passed_through():
    from mainspring.core import errors
    from mainspring.core.contracts import deployment, training
    from mainspring.workflows import cancellation, options, run_log
    from mainspring.workflows.deployment import messages, steering
    from mainspring.workflows.queueing import messages as queue_messages

__all__ = ["Turn", "TakesTurns"]

#: Runs of releases before it do not wait: they are refused where somebody's canary is in flight.
_WAITS: Final = "deployments to one endpoint wait for one another"

#: A queue that somebody ended is begun anew by those that were in it, after so long at most.
_JOINS_AGAIN_SECONDS: Final = 600.0


class Turn:
    """Of one deployment. Times are the workflow's."""

    def __init__(
        self, request: deployment.DeployRequest, log: run_log.RunLog, orders: steering.Steering
    ) -> None:
        self._request = request
        self._log = log
        self._orders = orders
        self._place = deployment.QueuePlace(ahead=0)
        self._is_told = False
        self._has_news = False
        self._is_in_line = False

    def told(self, place: deployment.QueuePlace) -> None:
        """By the queue."""
        self._place, self._is_told, self._has_news = place, True, True

    @property
    def detail(self) -> dict[str, Any]:
        """For whoever asks; empty where it does not wait."""
        if not self._orders.waits:
            return {}
        return {deployment.QUEUE_DETAIL: self._place.model_dump(mode="json")}

    async def come(self) -> None:
        """Until it is this deployment's turn, or somebody aborts it.

        What is asked of a bundle is asked before it waits, too: nobody waits a day to be told that a signature is wrong.
        Errors: Conflict where it took too long, and what the bundle is refused with.
        """
        if not workflow.patched(_WAITS):
            return
        began = workflow.time()
        self._is_in_line = True
        await self._join()
        await self._hear(math.inf)
        if self._is_mine():
            return
        waited_for = list[str]()
        if self._request.max_wait_seconds:
            await self._admit()
        self._orders.waits = True
        try:
            while not (self._is_mine() or self._orders.end):
                waited_for += [self._place.waits_for]
                await self._say(str(self))
                await self._hear(began + self._request.max_wait_seconds)
        finally:
            self._orders.waits = False
        if self._is_mine():
            await self._afford()
            await self._say(f"its turn at `{self._request.endpoint}`")
        detail = {"waited_for": list(dict.fromkeys(waited_for))}
        self._log.steps.append(
            training.StepReport(step=training.Stage.PENDING, seconds=workflow.time() - began, detail=detail)
        )

    async def leave(self) -> None:
        """The next one's turn. A queue that is not there any more has nobody in it."""
        if not self._is_in_line:
            return
        self._is_in_line = False
        known = workflow.get_external_workflow_handle(queue_messages.queue_id(self._request.endpoint))
        with contextlib.suppress(exceptions.FailureError):
            await known.signal(queue_messages.LEAVE, self._ticket)

    def __str__(self) -> str:
        more = self._place.ahead - 1
        behind = f", and {more} more before it" if more > 0 else ""
        return f"waits for `{self._place.waits_for}`, which deploys to `{self._request.endpoint}`{behind}"

    def _is_mine(self) -> bool:
        return self._is_told and not self._place.ahead

    @property
    def _ticket(self) -> queue_messages.Ticket:
        info = workflow.info()
        run_id = self._request.parent_run_id or self._request.run_id
        return queue_messages.Ticket(workflow_id=info.workflow_id, execution=info.run_id, run_id=run_id)

    async def _join(self) -> None:
        await workflow.execute_activity(
            queue_messages.JOIN_QUEUE,
            queue_messages.JoinQueue(endpoint=self._request.endpoint, ticket=self._ticket),
            **options.INSIST,
        )
        cancellation.notice()

    async def _admit(self) -> None:
        await workflow.execute_activity(
            messages.ADMIT_BUNDLE,
            messages.AdmitBundle(digest=self._request.bundle_digest, environment=self._request.environment),
            **options.EXCHANGE,
        )
        cancellation.notice()

    async def _afford(self) -> None:
        """A start asks the budget; after a day that answer is an old one."""
        run_id = self._request.parent_run_id or self._request.run_id
        await workflow.execute_activity(
            messages.AFFORD,
            messages.Afford(
                run_id=run_id, project=self._request.project, environment=self._request.environment
            ),
            **options.INSIST,
        )
        cancellation.notice()

    async def _hear(self, until: float) -> None:
        """Of another place, or that somebody aborts it. Errors: Conflict at `until`."""
        while not (self._has_news or self._orders.end):
            left = until - workflow.time()
            if left <= 0:
                raise self._late()
            try:
                await workflow.wait_condition(
                    lambda: self._has_news or self._orders.end is not None,
                    timeout=min(left, _JOINS_AGAIN_SECONDS),
                )
            except TimeoutError:
                if workflow.time() < until:
                    await self._join()
        self._has_news = False

    async def _say(self, message: str) -> None:
        """Here, and where people look at a training that deploys."""
        self._log.enter(training.Stage.PENDING, message, progress=0.0)
        above = workflow.info().parent
        if above is not None:
            known = workflow.get_external_workflow_handle(above.workflow_id, run_id=above.run_id)
            with contextlib.suppress(exceptions.FailureError):
                await known.signal(messages.TOLD, messages.Told(message=message))

    def _late(self) -> errors.Conflict:
        endpoint, run, limit = self._request.endpoint, self._place.waits_for, self._request.max_wait_seconds
        waited = f"after {limit:g} s of waiting" if limit else "and this one is not to wait"
        return errors.Conflict(
            f"endpoint `{endpoint}` has a deployment under way {waited}; let run `{run}` end or abort it, then deploy again",
            resource="endpoint",
            name=endpoint,
        )


class TakesTurns:
    """The signal, for a workflow that keeps a :class:`Turn`."""

    _turn: Turn

    @workflow.signal(name=queue_messages.PLACE)
    def place(self, told: deployment.QueuePlace) -> None:
        self._turn.told(told)
