"""Search attributes on Temporal's own development server: registered, set by starts and schedules, found, and absent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice import v1 as operator
from temporalio.client import Client, ScheduleActionStartWorkflow
from temporalio.testing import WorkflowEnvironment
from training_doubles import train_request
from workflows_doubles import CANDIDATE, deploy_request, run

from mainspring.core import errors
from mainspring.core.client import search_attributes
from mainspring.core.client.schedules import ScheduleClient
from mainspring.core.client.search_attributes import FoundRun, Wanted
from mainspring.core.client.workflows import WorkflowClient
from mainspring.core.contracts import keys, schedules

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

#: Nobody takes tasks of it, so what is started there stays at its start.
NOBODY = "nobody"
NAMES = {key.name for key in search_attributes.KEYS.values()}


def told(story: Callable[[Client], Awaitable[None]]) -> None:
    async def alone(client: Client, _: WorkflowEnvironment) -> None:
        await story(client)

    run(alone, [], [], real=True)


async def found(ours: WorkflowClient, count: int, **wanted: str) -> list[FoundRun]:
    """The index is written a moment after a start."""
    while len(came := await ours.find(Wanted(**wanted))) < count:
        await asyncio.sleep(0.02)
    return came


async def removed(client: Client, *names: str) -> None:
    await client.operator_service.remove_search_attributes(
        operator.RemoveSearchAttributesRequest(namespace=client.namespace, search_attributes=names)
    )


def test_a_bootstrap_says_what_is_missing_adds_it_and_adds_nothing_twice() -> None:
    async def story(client: Client) -> None:
        looked = await search_attributes.register(client, dry_run=True)
        assert set(looked.missing) == NAMES and not looked.added and not looked.present
        made = await search_attributes.register(client)
        assert set(made.added) == NAMES and not made.missing
        await removed(client, "MainspringBundle")
        looked = await search_attributes.register(client, dry_run=True)
        assert looked.missing == ("MainspringBundle",)
        assert (await search_attributes.register(client)).added == ("MainspringBundle",)
        again = await search_attributes.register(client)
        assert set(again.present) == NAMES and not again.added

    told(story)


def test_a_name_of_another_type_is_refused_and_nothing_is_added() -> None:
    async def story(client: Client) -> None:
        taken = {"MainspringProject": IndexedValueType.INDEXED_VALUE_TYPE_INT}
        await client.operator_service.add_search_attributes(
            operator.AddSearchAttributesRequest(namespace=client.namespace, search_attributes=taken)
        )
        for dry_run in (True, False):
            with pytest.raises(
                errors.Conflict, match=r"as `int`, expected `keyword`; remove it with `temporal"
            ):
                await search_attributes.register(client, dry_run=dry_run)
        # A start leaves the name alone that is not a keyword, as those that are not there.
        ours = WorkflowClient(client, NOBODY)
        assert await ours.start_training(train_request(run_id="run_taken")) == "run_taken"
        elsewhere = await Client.connect(client.service_client.config.target_host, namespace="not-there")
        with pytest.raises(errors.NotFound, match="temporal operator namespace create"):
            await search_attributes.register(elsewhere)

    told(story)


def test_starts_are_found_by_what_they_were_started_with() -> None:
    async def story(client: Client) -> None:
        await search_attributes.register(client)
        ours = WorkflowClient(client, NOBODY)
        await ours.start_training(train_request(run_id="run_a", requested_by="o'brien@x.org"))
        await ours.start_training(train_request(run_id="run_b", environment="prod"))
        await ours.start_deployment(deploy_request(run_id="run_c"))
        await ours.start_key_change(keys.KeyRequest(change_id="keys_d", requested_by="eva", reason="rotate"))

        (one,) = await found(ours, 1, requested_by="o'brien@x.org")
        project = train_request().project
        assert (one.run_id, one.process, one.status) == ("run_a", "TrainModel", "running")
        assert (one.project, one.environment, one.endpoint, one.ended_at) == (project, "dev", "", None)
        (two,) = await found(ours, 1, process="TrainModel", environment="prod", project=project)
        assert two.run_id == "run_b"
        (three,) = await found(ours, 1, bundle_digest=CANDIDATE)
        assert (three.process, three.endpoint) == ("DeployModel", deploy_request().endpoint)
        (four,) = await found(ours, 1, process="RotateKeys")
        assert (four.run_id, four.project, four.requested_by) == ("keys_d", "", "eva")
        newest = await found(ours, 4)
        assert [each.run_id for each in newest] == ["keys_d", "run_c", "run_b", "run_a"]
        assert [each.run_id for each in await ours.find(Wanted(), limit=1)] == ["keys_d"]
        assert await ours.find(Wanted(project="x' OR WorkflowType STARTS_WITH 'mainspring.")) == []

    told(story)


@pytest.mark.parametrize("value", ["a\\", 'a"b', "a\nb", "a\x00", "x" * 256])
def test_what_the_filter_cannot_say_is_refused(value: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="`requested_by` can be searched for with"):
        search_attributes.filter_of(Wanted(requested_by=value))


def test_what_a_schedule_starts_is_found_as_well() -> None:
    async def story(client: Client) -> None:
        await search_attributes.register(client)
        plans = ScheduleClient(client, NOBODY)
        asked = schedules.ScheduleCreate(every_minutes=60)
        await plans.put("tiny", schedules.Process.SKEW, asked)
        by_hand = await plans.run_now("tiny", schedules.Process.SKEW, "k1")
        handle = client.get_schedule_handle(schedules.schedule_id("tiny", schedules.Process.SKEW))
        await handle.trigger()
        both = await found(WorkflowClient(client, NOBODY), 2, project="tiny", process="CheckSkew")
        assert by_hand in {one.run_id for one in both}
        view = await plans.find("tiny", schedules.Process.SKEW)
        # A change in the place of what was looked at goes by another call, and keeps them.
        changed = schedules.ScheduleCreate(every_minutes=30)
        await plans.put("tiny", schedules.Process.SKEW, changed, if_version=view.version)
        action = (await handle.describe()).schedule.action
        assert isinstance(action, ScheduleActionStartWorkflow)
        assert "MainspringProject" in {pair.key.name for pair in action.typed_search_attributes}

    told(story)


def test_a_namespace_without_them_starts_runs_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    async def story(client: Client) -> None:
        ours = WorkflowClient(client, NOBODY)
        with caplog.at_level(logging.WARNING, "mainspring.client"):
            await ours.start_training(train_request(run_id="run_a"))
            await ours.start_training(train_request(run_id="run_b"))
        assert [r.getMessage().count("mainspring workflow bootstrap") for r in caplog.records] == [1]
        with pytest.raises(errors.NotFound, match="run `mainspring workflow bootstrap`"):
            await ours.find(Wanted(project="flight-delay"))
        assert {one.run_id for one in await found(ours, 2)} == {"run_a", "run_b"}

    told(story)


def test_attributes_that_go_while_a_client_lives_cost_no_run() -> None:
    async def story(client: Client) -> None:
        await search_attributes.register(client)
        ours = WorkflowClient(client, NOBODY)
        await ours.start_training(train_request(run_id="run_a"))
        await removed(client, *NAMES)
        assert await ours.start_training(train_request(run_id="run_b")) == "run_b"
        found = await client.get_workflow_handle("run_b").describe()
        assert not [pair for pair in found.typed_search_attributes if pair.key.name in NAMES]

    told(story)
