"""`mainspring.DeploymentQueue.v1`: whose turn it is at one endpoint, first come, first served. No clock, no randomness, no I/O.

It runs while somebody is in it. A deployment joins by an activity, which starts the queue where there is none, and leaves by a
signal; what it is told are its places. Whoever was ended without a word (terminated, say) is found by looking.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Final

from temporalio import exceptions, workflow

with workflow.unsafe.imports_passed_through():
    from mainspring.core.contracts import deployment
    from mainspring.workflows import options
    from mainspring.workflows.queueing import messages

#: Between two looks whether those in the queue still run, while somebody waits.
_LOOK: Final = timedelta(minutes=1)


@workflow.defn(name=messages.QUEUE_WORKFLOW)
class DeploymentQueue:
    @workflow.init
    def __init__(self, line: messages.Line) -> None:
        self._line = list(line.tickets)
        self._told: dict[str, deployment.QueuePlace] = {}
        self._has_news = False

    @workflow.run
    async def run(self, line: messages.Line) -> None:
        while self._line:
            self._has_news = False
            await self._tell()
            await self._look()
            if self._line and workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(messages.Line(tickets=self._line))

    @workflow.signal(name=messages.JOIN)
    def join(self, ticket: messages.Ticket) -> None:
        if ticket not in self._line:
            self._line.append(ticket)
            self._has_news = True

    @workflow.signal(name=messages.LEAVE)
    def leave(self, ticket: messages.Ticket) -> None:
        if ticket in self._line:
            self._drop(ticket)

    def _drop(self, ticket: messages.Ticket) -> None:
        self._line.remove(ticket)
        self._told.pop(ticket.execution, None)
        self._has_news = True

    async def _tell(self) -> None:
        """Everybody whose place is another one. Who cannot be told has ended, and its place is free."""
        line = list(self._line)
        for ahead, ticket in enumerate(line):
            place = deployment.QueuePlace(ahead=ahead, waits_for=line[0].run_id if ahead else "")
            if self._has_news or self._told.get(ticket.execution) == place:
                continue
            self._told[ticket.execution] = place
            known = workflow.get_external_workflow_handle(ticket.workflow_id, run_id=ticket.execution)
            try:
                await known.signal(messages.PLACE, place)
            except exceptions.FailureError:
                if ticket in self._line:
                    self._drop(ticket)

    async def _look(self) -> None:
        """Until somebody came or left; while somebody waits it is looked whether all still run."""
        if len(self._line) < 2:  # nobody waits for the one
            await workflow.wait_condition(lambda: self._has_news)
            return
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(lambda: self._has_news, timeout=_LOOK)
            return
        with contextlib.suppress(exceptions.FailureError):  # looked again in a minute
            found = await workflow.execute_activity(
                messages.FIND_GONE,
                messages.Gone(tickets=self._line),
                result_type=messages.Gone,
                **options.EXCHANGE,
            )
            for ticket in found.tickets:
                if ticket in self._line:
                    self._drop(ticket)
