"""A status has how far steps under way are, by their heartbeats; whatever Temporal does not say leaves it as it was."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio import converter, service
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from mainspring.core import errors
from mainspring.core.client import payloads, under_way
from mainspring.core.contracts.progress import StepProgress
from mainspring.core.contracts.training import RunStatus, Stage

TRAINS = RunStatus(run_id="run_1", stage=Stage.TRAIN, message="training on 2 Ray workers")
THIRD = StepProgress(step="train", done=3, of=8, unit="epoch", checkpoint="/checkpoints/3")
PLAIN = payloads.converter_of(None)


class Handle:
    """Temporal, as it describes a workflow with these pending activities."""

    def __init__(self, *details: Payloads, refusal: service.RPCError | None = None) -> None:
        self.looks: list[timedelta] = []
        self._pending = [PendingActivityInfo(heartbeat_details=one) for one in details]
        self._refusal = refusal

    async def describe(self, *, rpc_timeout: timedelta) -> Any:
        self.looks.append(rpc_timeout)
        if self._refusal is not None:
            raise self._refusal
        self.raw_description = DescribeWorkflowExecutionResponse(pending_activities=self._pending)
        return self


def beat(*said: Any, by: converter.DataConverter = PLAIN) -> Payloads:
    return Payloads(payloads=asyncio.run(by.encode(said)))


def look(handle: Any, status: RunStatus = TRAINS, by: converter.DataConverter = PLAIN) -> RunStatus:
    return asyncio.run(under_way.added(handle, status, by, within_seconds=1.0))


def test_a_step_under_way_is_in_the_status_after_one_look() -> None:
    handle = Handle(Payloads(), beat(THIRD))
    found = look(handle)
    assert (found.step_progress, found.progress, found.message) == ([THIRD], 0.375, TRAINS.message)
    assert handle.looks == [timedelta(seconds=1)]


def test_steps_side_by_side_have_each_their_own_and_the_run_keeps_its_share() -> None:
    pipeline = TRAINS.model_copy(update={"stage": Stage.STEP})
    other = StepProgress(step="load", done=1, of=2)
    found = look(Handle(beat(THIRD), beat(other)), pipeline)
    assert ([one.step for one in found.step_progress], found.progress) == (["load", "train"], 0.0)
    told = look(Handle(beat(other)), pipeline.model_copy(update={"progress": 0.25}))
    assert told.progress == 0.25


@pytest.mark.parametrize("stage", sorted(set(Stage) - under_way._TELLING))
def test_where_nobody_tells_nobody_is_asked(stage: Stage) -> None:
    handle, status = Handle(beat(THIRD)), TRAINS.model_copy(update={"stage": stage})
    assert look(handle, status) == status
    assert handle.looks == []


@pytest.mark.parametrize(
    "said",
    [
        Payloads(),
        beat("a word"),
        beat({"step": "train", "done": -1}),
        beat(None),
        Payloads(payloads=[Payload(metadata={"encoding": b"of/tomorrow"}, data=b"?")]),
        Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=b"{")]),
    ],
)
def test_what_is_no_progress_is_left_out(said: Payloads) -> None:
    assert look(Handle(said)) == TRAINS


def test_temporal_that_does_not_answer_in_time_leaves_the_status() -> None:
    late = service.RPCError("late", service.RPCStatusCode.DEADLINE_EXCEEDED, b"")
    assert look(Handle(beat(THIRD), refusal=late)) == TRAINS


def test_sealed_progress_is_read_with_its_key_and_left_out_without(tmp_path: Any) -> None:
    for name in ("ours", "theirs"):
        payloads.ensure_keys(tmp_path / name)
    ours, theirs = (
        payloads.converter_of(payloads.SealedPayloads(tmp_path / name)) for name in ("ours", "theirs")
    )
    sealed = beat(THIRD, by=ours)
    assert b"checkpoint" not in sealed.SerializeToString()
    assert look(Handle(sealed), by=ours).step_progress == [THIRD]
    with pytest.raises(errors.Misconfigured):
        asyncio.run(theirs.decode(sealed.payloads))
    assert look(Handle(sealed), by=theirs) == TRAINS
