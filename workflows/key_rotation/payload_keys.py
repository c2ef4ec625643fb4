"""Keys that encrypt payloads: lines of one file, and which of them Temporal's histories still need."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from temporalio import client as temporal
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    DescribeScheduleRequest,
    GetWorkflowExecutionHistoryRequest,
    ListSchedulesRequest,
    ListWorkflowExecutionsRequest,
)

from mainspring.core import payload_keys as files
from mainspring.core.contracts import keys
from mainspring.workflows.key_rotation import messages

__all__ = ["PayloadKeys"]

#: Beyond so many runs nobody has looked at all of them, and every key stays.
_MAX_RUNS: Final = 20_000
_PAGE: Final = 200


class PayloadKeys:
    def __init__(self, path: Path) -> None:
        self._path = path

    def ids(self) -> tuple[str, ...]:
        """The one that encrypts first."""
        return files.ids(self._path)

    def prepare(self, request: keys.KeyRequest, mark: str) -> messages.Turn:
        """The new key decrypts, and does not encrypt yet. With the same `mark` again it is the same key."""
        new = files.add(self._path, mark)
        old = self.ids()[0]
        return messages.Turn(request=request, old=old, new=new)

    def switch(self, turn: messages.Turn) -> bool:
        return files.promote(self._path, turn.new)

    async def withdraw(self, client: temporal.Client | None) -> messages.Withdrawn:
        """Drop what encrypts nothing that Temporal keeps. Of what is kept, a count says who needs it."""
        old = list(self.ids()[1:])
        if not old or client is None:
            return messages.Withdrawn(kept=[keys.KeptKey(key_id=one, needed_by=0) for one in old])
        needed = dict.fromkeys(old, 0)
        seen = 0
        async for text in _texts(client):
            seen += 1
            for one in old:
                needed[one] += one.encode() in text
            if seen >= _MAX_RUNS:
                return messages.Withdrawn(kept=_kept(needed, old))
        gone = [one for one in old if not needed[one]]
        if gone:
            files.drop(self._path, gone)
        return messages.Withdrawn(key_ids=gone, kept=_kept(needed, [one for one in old if needed[one]]))


def _kept(needed: dict[str, int], which: Sequence[str]) -> list[keys.KeptKey]:
    return [keys.KeptKey(key_id=one, needed_by=needed[one]) for one in which]


async def _texts(client: temporal.Client) -> AsyncIterator[bytes]:
    """The bytes of every run and schedule that Temporal keeps, as it keeps them: an id of a key stands beside its payload.

    An id that is found by chance keeps its key, which does no harm.
    """
    service, namespace = client.workflow_service, client.namespace
    token = b""
    while True:
        schedules = await service.list_schedules(
            ListSchedulesRequest(namespace=namespace, maximum_page_size=_PAGE, next_page_token=token)
        )
        for one in schedules.schedules:
            asked = DescribeScheduleRequest(namespace=namespace, schedule_id=one.schedule_id)
            yield (await service.describe_schedule(asked)).SerializeToString()
        if not (token := schedules.next_page_token):
            break
    while True:
        runs = await service.list_workflow_executions(
            ListWorkflowExecutionsRequest(namespace=namespace, page_size=_PAGE, next_page_token=token)
        )
        for run in runs.executions:
            yield await _history(client, run.execution)
        if not (token := runs.next_page_token):
            return


async def _history(client: temporal.Client, execution: WorkflowExecution) -> bytes:
    text, token = b"", b""
    while True:
        answer = await client.workflow_service.get_workflow_execution_history(
            GetWorkflowExecutionHistoryRequest(
                namespace=client.namespace, execution=execution, next_page_token=token
            )
        )
        text += answer.history.SerializeToString()
        if not (token := answer.next_page_token):
            return text
