"""The side effects of waiting for a turn: a place in the queue of an endpoint, and who in it does not run any more."""

from __future__ import annotations

from temporalio import activity, client, common, service

from mainspring.core import traces
from mainspring.core.client import ends
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows import heartbeat
from mainspring.workflows.queueing import messages

__all__ = ["find_gone", "join_queue"]


@activity.defn(name=messages.JOIN_QUEUE)
async def join_queue(asked: messages.JoinQueue) -> None:
    """Started and joined in one step, so that a queue that ends in this moment loses nobody. Errors: DependencyDown."""
    ours = traces.outgoing()
    with temporal_errors.typed():
        async with heartbeat.beating():
            try:
                # A queue is of many deployments, so it is in the trace of none: that one's, but not kept.
                with traces.resumed(f"{ours[:-2]}00" if ours else ""):
                    await activity.client().start_workflow(
                        messages.QUEUE_WORKFLOW,
                        messages.Line(tickets=[asked.ticket]),
                        id=messages.queue_id(asked.endpoint),
                        task_queue=activity.info().task_queue,
                        id_conflict_policy=common.WorkflowIDConflictPolicy.USE_EXISTING,
                        start_signal=messages.JOIN,
                        start_signal_args=[asked.ticket],
                    )
            except service.RPCError as error:
                raise ends.typed(error, messages.queue_id(asked.endpoint)) from error


@activity.defn(name=messages.FIND_GONE)
async def find_gone(asked: messages.Gone) -> messages.Gone:
    """Of these those that have ended. Errors: DependencyDown."""
    with temporal_errors.typed():
        async with heartbeat.beating():
            return messages.Gone(tickets=[ticket for ticket in asked.tickets if await _has_ended(ticket)])


async def _has_ended(ticket: messages.Ticket) -> bool:
    handle = activity.client().get_workflow_handle(ticket.workflow_id, run_id=ticket.execution)
    try:
        found = await handle.describe()
    except service.RPCError as error:
        if error.status is service.RPCStatusCode.NOT_FOUND:
            return True  # ended so long ago that Temporal has forgotten it
        raise ends.typed(error, ticket.workflow_id) from error
    return found.status is not client.WorkflowExecutionStatus.RUNNING
