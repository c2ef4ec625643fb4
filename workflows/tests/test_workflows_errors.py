"""Every error class survives Temporal's own failure encoding, with the retry flag that its kind asks for."""

import asyncio
import dataclasses
import errno

import pytest
from temporalio import exceptions
from temporalio.api.failure.v1 import Failure
from temporalio.contrib.pydantic import pydantic_data_converter

from mainspring.core import errors
from mainspring.workflows import errors as temporal_errors

CLASSES = sorted(errors.BY_CODE.values(), key=lambda c: c.code)


def example(cls: type[errors.MainspringError]) -> errors.MainspringError:
    values = {"str": "x", "int": 7, "float": 2.5, "tuple[str, ...]": ("a", "b")}
    return cls(**{f.name: values[str(f.type)] for f in dataclasses.fields(cls)})


async def through_temporal(error: BaseException) -> BaseException:
    failure = Failure()
    await pydantic_data_converter.encode_failure(error, failure)
    return await pydantic_data_converter.decode_failure(Failure.FromString(failure.SerializeToString()))


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.code)
def test_survives_the_failure_encoding(cls: type[errors.MainspringError]) -> None:
    original = example(cls)
    arrived = asyncio.run(through_temporal(temporal_errors.to_failure(original)))
    assert isinstance(arrived, exceptions.ApplicationError)
    assert arrived.type == cls.code
    assert arrived.non_retryable is not cls.retryable
    back = temporal_errors.from_failure(arrived)
    assert type(back) is cls
    assert back.message == original.message
    assert back.details == original.details


def test_overloaded_says_when_to_come_back() -> None:
    failure = temporal_errors.to_failure(errors.Overloaded("queue is full", retry_after_seconds=3.5))
    assert failure.next_retry_delay is not None
    assert failure.next_retry_delay.total_seconds() == 3.5
    assert temporal_errors.to_failure(errors.NotFound("no such thing")).next_retry_delay is None


def test_reads_through_the_layers_that_temporal_adds() -> None:
    inner = temporal_errors.to_failure(
        errors.GateFailed("auc too low", gate="min_auc", expected="0.75", got="0.7")
    )
    outer = exceptions.ChildWorkflowError(
        "child failed",
        namespace="default",
        workflow_id="w",
        run_id="r",
        workflow_type="mainspring.DeployModel.v1",
        initiated_event_id=1,
        started_event_id=2,
        retry_state=None,
    )
    outer.__cause__ = inner
    back = temporal_errors.from_failure(outer)
    assert isinstance(back, errors.GateFailed)
    assert back.gate == "min_auc"


def test_a_timeout_names_the_activity_that_was_late() -> None:
    outer = exceptions.ActivityError(
        "activity failed",
        scheduled_event_id=1,
        started_event_id=2,
        identity="worker",
        activity_type="mainspring.bundle.load.v1",
        activity_id="1",
        retry_state=None,
    )
    outer.__cause__ = exceptions.TimeoutError(
        "start to close", type=exceptions.TimeoutType.START_TO_CLOSE, last_heartbeat_details=[]
    )
    back = temporal_errors.from_failure(outer)
    assert isinstance(back, errors.DeadlineExceeded)
    assert back.stage == "mainspring.bundle.load.v1"


def test_a_failure_that_is_not_ours_is_broken_and_keeps_its_words() -> None:
    back = temporal_errors.from_failure(exceptions.ApplicationError("boom", type="KeyError"))
    assert type(back) is errors.Broken
    assert "KeyError" in back.message
    assert "boom" in back.message


@pytest.mark.parametrize(
    "full",
    [OSError(errno.ENOSPC, "No space left on device", "x"), RuntimeError("write: No space left on device")],
    ids=["with its number", "in words"],
)
def test_a_full_disk_is_an_operators_and_waits_for_room(full: Exception) -> None:
    with pytest.raises(exceptions.ApplicationError) as caught, temporal_errors.typed():
        raise full
    assert caught.value.non_retryable is False and caught.value.next_retry_delay is not None
    back = temporal_errors.from_failure(caught.value)
    assert isinstance(back, errors.DependencyDown)
    assert back.name == "disk" and "free some" in back.message


def test_another_error_of_the_system_stays_what_it_is() -> None:
    with pytest.raises(PermissionError), temporal_errors.typed():
        raise PermissionError(errno.EACCES, "Permission denied", "x")


def test_what_cannot_be_decoded_is_told_in_the_words_of_what_it_was() -> None:
    """Temporal's own words around it say that something could not be decoded, and not what to do."""
    around = exceptions.ApplicationError("Failed decoding arguments")
    around.__cause__ = errors.NotFound("claim `ab` is gone; put it back", resource="claim", name="ab")
    around.__cause__.__cause__ = FileNotFoundError(2, "no such file")
    back = temporal_errors.from_failure(asyncio.run(through_temporal(around)))
    assert type(back) is errors.Broken
    assert back.message.startswith("untyped failure `NotFound`: claim `ab` is gone; put it back")
