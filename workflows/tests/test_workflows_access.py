"""The end of access: noted when it is due, whoever was away meanwhile, and once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from workflows_doubles import QUEUE, run

from mainspring.core import errors
from mainspring.core.client.workflows import WorkflowClient
from mainspring.core.contracts import access_requests
from mainspring.core.contracts.access_requests import AccessState
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.access.activities import AccessActivities
from mainspring.workflows.access.workflow import AGAIN, ExpireAccess

pytestmark = pytest.mark.timeout(90)


class Control:
    """What stands for the control API: its routes by a transport, and a clock of its own."""

    def __init__(self, state: AccessState, ends: datetime, *, fails: int = 0) -> None:
        self.state, self.ends, self.fails = state, ends, fails
        self.is_due_at_look = 1
        self.asked: list[access_requests.ExpireRequest] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        due = access_requests.ExpireRequest.model_validate_json(request.content)
        assert request.url.path == "/api/v1/projects/alpha/access-requests/access_1/expire"
        self.asked.append(due)
        if len(self.asked) <= self.fails:
            return httpx.Response(503, json={})
        if self.state is due.state and len(self.asked) - self.fails >= self.is_due_at_look:
            self.state = AccessState.EXPIRED
        view = access_requests.AccessRequestView(
            request_id=due.request_id,
            project=due.project,
            actor="ana",
            role="developer",
            environment="prod",
            minutes=60,
            reason="because",
            is_break_glass=False,
            state=self.state,
            requested_at=self.ends,
            due_at=self.ends,
        )
        return httpx.Response(200, json=view.model_dump(mode="json"))

    def activities(self) -> list[Any]:
        http = httpx.AsyncClient(base_url="http://control", transport=httpx.MockTransport(self.answer))
        return AccessActivities(http).all()


def request(due: datetime, state: AccessState = AccessState.ACTIVE) -> access_requests.ExpireRequest:
    return access_requests.ExpireRequest(project="alpha", request_id="access_1", state=state, due_at=due)


def expired(control: Control, hours: float) -> tuple[access_requests.ExpireOutcome, timedelta]:
    """The outcome, and how long it took by the server's clock."""

    async def story(client: Client, environment: WorkflowEnvironment) -> Any:
        began = await environment.get_current_time()
        due = request(began + timedelta(hours=hours))
        started = await client.start_workflow(
            ExpireAccess.run, due, id=access_requests.expiry_id(due), task_queue=QUEUE
        )
        outcome = await started.result()
        # Not the server's time now: with nothing left to do it may have skipped on.
        ended = (await started.describe()).close_time
        assert ended is not None
        return outcome, ended - began

    found: tuple[access_requests.ExpireOutcome, timedelta] = run(story, [ExpireAccess], control.activities())
    return found


def test_it_is_noted_at_its_end_and_not_before() -> None:
    control = Control(AccessState.ACTIVE, datetime.now(UTC))
    outcome, took = expired(control, hours=8)
    assert outcome.state is AccessState.EXPIRED and len(control.asked) == 1
    assert timedelta(hours=8) <= took < timedelta(hours=8, minutes=1)


def test_a_clock_that_is_behind_is_asked_again() -> None:
    control = Control(AccessState.ACTIVE, datetime.now(UTC))
    control.is_due_at_look = 3
    outcome, took = expired(control, hours=1)
    assert outcome.state is AccessState.EXPIRED and len(control.asked) == 3
    assert took >= timedelta(hours=1) + 2 * AGAIN


def test_a_control_api_that_is_away_is_asked_until_it_answers() -> None:
    control = Control(AccessState.ACTIVE, datetime.now(UTC), fails=12)
    outcome, took = expired(control, hours=0.5)
    assert outcome.state is AccessState.EXPIRED and len(control.asked) == 13
    assert took > timedelta(minutes=35)  # far beyond what other exchanges are tried for


@pytest.mark.parametrize("state", [AccessState.REVOKED, AccessState.REJECTED])
def test_what_ended_before_is_left_as_it_is(state: AccessState) -> None:
    control = Control(state, datetime.now(UTC))
    outcome, _ = expired(control, hours=1)
    assert outcome.state is state and len(control.asked) == 1


def test_what_the_control_api_does_not_know_fails_with_its_reason() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        missing = errors.NotFound("no access request", resource="access request", name="access_1")
        return httpx.Response(404, json=errors.to_wire(missing))

    http = httpx.AsyncClient(base_url="http://control", transport=httpx.MockTransport(answer))
    with pytest.raises(ApplicationError) as caught:
        asyncio.run(ActivityEnvironment().run(AccessActivities(http).expire, request(datetime.now(UTC))))
    assert caught.value.non_retryable
    assert isinstance(temporal_errors.from_failure(caught.value), errors.NotFound)


@pytest.mark.integration
def test_the_end_is_noted_when_a_worker_is_back(tmp_path: Path) -> None:
    """A real server with its file, which is stopped with the worker in the middle of the timer."""
    control = Control(AccessState.ACTIVE, datetime.now(UTC))
    database, due = tmp_path / "temporal.db", datetime.now(UTC) + timedelta(seconds=3)

    async def begin(client: Client, _: WorkflowEnvironment) -> None:
        ours = WorkflowClient(client, QUEUE)
        for _again in range(2):
            assert await ours.start_expiry(request(due)) == "access_1-active"
        while (
            len([e async for e in client.get_workflow_handle("access_1-active").fetch_history_events()]) < 5
        ):
            await asyncio.sleep(0.05)

    async def end(client: Client, _: WorkflowEnvironment) -> Any:
        ended = await client.get_workflow_handle_for(ExpireAccess.run, "access_1-active").result()
        await WorkflowClient(client, QUEUE).start_expiry(request(due))  # also after its end: no second one
        return ended

    run(begin, [ExpireAccess], control.activities(), real=True, database=database)
    assert control.asked == [] and datetime.now(UTC) < due
    outcome = run(end, [ExpireAccess], control.activities(), real=True, database=database)
    assert outcome.state is AccessState.EXPIRED and len(control.asked) == 1
    assert datetime.now(UTC) >= due
