"""StopIdle: who is told, who is stopped after the grace, and that a run that comes twice does nothing twice."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from idling_doubles import GIB, PROJECT, Rooms, endpoint
from temporalio.client import Client, WorkflowFailureError
from temporalio.testing import WorkflowEnvironment
from workflows_doubles import QUEUE, STABLE, run

from mainspring.core import errors
from mainspring.core.contracts import idling
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.idling.workflow import StopIdle

pytestmark = pytest.mark.timeout(90)

NOW = datetime.now(UTC)


def ran(rooms: Rooms, times: int = 1, **options: Any) -> list[idling.StopIdleOutcome]:
    request = idling.StopIdleRequest.model_validate({"project": PROJECT, **options})

    async def story(client: Client, _: WorkflowEnvironment) -> list[idling.StopIdleOutcome]:
        return [
            await client.execute_workflow(StopIdle.run, request, id=f"idle-{n}", task_queue=QUEUE)
            for n in range(times)
        ]

    return run(story, [StopIdle], rooms.all())


def test_a_notice_comes_first_and_the_stop_after_its_grace() -> None:
    rooms = Rooms(endpoint("busy", NOW, days=1), endpoint("idle", NOW, days=30))
    (first,) = ran(rooms)
    assert (first.looked_at, first.noticed, first.stopped) == (2, ("idle",), ())
    again, third = ran(rooms, 2)
    assert again.waiting == third.waiting == ("idle",) and rooms.rested == []
    rooms.known["idle"] = rooms.known["idle"].model_copy(update={"noticed_at": NOW - timedelta(days=2)})
    stop, after = ran(rooms, 2)
    (stopped,) = stop.stopped
    assert (stopped.endpoint, stopped.freed_bytes) == ("idle", GIB)
    assert stopped.memory_cost_per_month == 3.65  # 730 GiB-hours at 0.005
    assert (after.noticed, after.waiting, after.stopped) == ((), (), ()) and rooms.rested == ["idle"]
    assert [(name, event.kind) for name, event in rooms.events.values()] == [
        ("idle", "notice"),
        ("idle", "stop"),
    ]


def test_who_asks_after_the_notice_keeps_it_and_begins_anew() -> None:
    noticed = NOW - timedelta(days=9)
    rooms = Rooms(endpoint("idle", NOW, days=8, noticed_at=noticed, stopped_at=noticed))
    (outcome,) = ran(rooms)
    assert outcome.noticed == ("idle",) and outcome.stopped == ()


def test_what_is_exempt_not_in_traffic_or_new_is_left_alone() -> None:
    rooms = Rooms(
        endpoint("kept", NOW, days=300),
        endpoint("staging", NOW, days=300, environment="staging"),
        endpoint("gone", NOW, days=300),
        endpoint("fresh", NOW, days=300, claimed_at=NOW - timedelta(days=2), last_used_at=None),
        endpoint("never", NOW, days=300, last_used_at=None),
    )
    rooms.in_traffic -= {"gone"}
    (outcome,) = ran(rooms, exempt=["kept"], exempt_environments=["staging"])
    assert (outcome.looked_at, outcome.noticed) == (4, ("never",))


def test_serving_that_is_away_is_asked_again_and_a_pinned_endpoint_ends_it_in_words() -> None:
    rooms = Rooms(endpoint("idle", NOW, days=30, noticed_at=NOW - timedelta(days=2)))
    rooms.away_for = 3
    (outcome,) = ran(rooms)
    assert [one.endpoint for one in outcome.stopped] == ["idle"]
    rooms = Rooms(endpoint("idle", NOW, days=30, noticed_at=NOW - timedelta(days=2)))
    rooms.pinned = {"idle"}
    with pytest.raises(WorkflowFailureError) as caught:
        ran(rooms)
    assert isinstance(temporal_errors.from_failure(caught.value), errors.Conflict)
    assert rooms.events == {}


def test_a_spent_budget_is_told_and_takes_the_endpoint_out_after_its_grace() -> None:
    begun = NOW - timedelta(days=3)
    over = {"spent_budget": "prod/month", "spent_since": begun}
    rooms = Rooms(
        endpoint("busy", NOW, days=0.01),
        endpoint("exempt", NOW, days=0.01, **over),
        endpoint("spent", NOW, days=0.01, budget_noticed_at=begun - timedelta(days=30), **over),
    )
    first, second = ran(rooms, 2, exempt=["exempt"])
    assert first.budget_noticed == ("spent",) and second.waiting == ("spent",)
    assert (first.budget_stopped, second.budget_stopped, rooms.released) == ((), (), [])
    told = {"budget_noticed_at": NOW - timedelta(hours=2)}
    rooms.known["spent"] = rooms.known["spent"].model_copy(update=told)
    rooms.in_canary = {"spent"}
    (refused,) = ran(rooms, exempt=["exempt"])
    assert refused.refused == {"spent": "a canary is in it"} and refused.budget_stopped == ()
    assert len(rooms.events) == 1  # nothing is on record that was not done
    rooms.in_canary = set()
    stopped, after = ran(rooms, 2, exempt=["exempt"])
    assert stopped.budget_stopped == ("spent",) and after.budget_stopped == ()
    (asked,) = rooms.released
    assert asked.version == 3 and "budget `prod/month` of `flight-delay` is spent" in asked.reason
    _, event = list(rooms.events.values())[-1]
    assert event.kind == "budget-stop"
    assert event.detail == {"budget": "prod/month", "version": 3, "bundles": [STABLE]}
    assert rooms.in_traffic == {"busy", "exempt"}


def test_a_budget_that_is_raised_within_the_grace_stops_nothing() -> None:
    noticed = NOW - timedelta(hours=2)
    rooms = Rooms(endpoint("spared", NOW, days=0.01, budget_noticed_at=noticed))
    (outcome,) = ran(rooms)
    assert outcome.budget_stopped == () and rooms.released == []
    # Set anew, and spent anew: a notice of its own.
    again = {"spent_budget": "all/day", "spent_since": NOW - timedelta(hours=1)}
    rooms.known["spared"] = rooms.known["spared"].model_copy(update=again)
    (outcome,) = ran(rooms)
    assert outcome.budget_noticed == ("spared",) and rooms.released == []


def test_a_stop_whose_record_was_lost_is_on_record_once() -> None:
    """The control API took the event, and its answer did not come: the activity asks again."""
    rooms = Rooms(endpoint("idle", NOW, days=30, noticed_at=NOW - timedelta(days=2)))
    fails = iter([True, True])

    def lose() -> None:
        if next(fails, False):
            raise httpx.ReadTimeout("no answer")

    rooms.when_noted = lose
    (outcome,) = ran(rooms)
    assert len(outcome.stopped) == 1 and len(rooms.events) == 1


@pytest.mark.integration
def test_a_worker_and_a_server_that_die_before_the_stop_leave_it_to_the_next(tmp_path: Path) -> None:
    """A real server with its file. Serving is away, so the stop is being tried when worker and server end."""
    rooms = Rooms(
        endpoint("idle", NOW, days=30),
        endpoint("told", NOW, days=30, noticed_at=NOW - timedelta(days=2)),
    )
    database = tmp_path / "temporal.db"

    async def begin(client: Client, _: WorkflowEnvironment) -> None:
        rooms.rests_away = True
        request = idling.StopIdleRequest(project=PROJECT)
        await client.start_workflow(StopIdle.run, request, id="stop-idle", task_queue=QUEUE)
        while not rooms.turned_away:
            await asyncio.sleep(0.02)

    async def end(client: Client, _: WorkflowEnvironment) -> idling.StopIdleOutcome:
        rooms.rests_away = False
        return await client.get_workflow_handle_for(StopIdle.run, "stop-idle").result()

    run(begin, [StopIdle], rooms.activities(), real=True, database=database)
    assert rooms.rested == [] and [e.kind for _, e in rooms.events.values()] == ["notice"]
    outcome = run(end, [StopIdle], rooms.activities(), real=True, database=database)
    assert [one.endpoint for one in outcome.stopped] == ["told"] and outcome.noticed == ("idle",)
    assert [(name, e.kind) for name, e in rooms.events.values()] == [("idle", "notice"), ("told", "stop")]
