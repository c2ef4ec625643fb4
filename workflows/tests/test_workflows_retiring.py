"""The end of a bundle: in which order, what it refuses, and what is left for a second run."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from retiring_doubles import Retirement, retire_request
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from workflows_doubles import CANDIDATE, QUEUE, STABLE, run

from mainspring.core import errors, settings
from mainspring.core.contracts import deployment, retiring, training
from mainspring.core.contracts.training import Stage
from mainspring.core.models import withdrawn
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.retiring import messages
from mainspring.workflows.retiring.activities import RetiringActivities
from mainspring.workflows.retiring.workflow import RetireModel

pytestmark = pytest.mark.timeout(90)


def retired(steps: Retirement, **changes: Any) -> retiring.RetireResult:
    async def story(client: Client, _: WorkflowEnvironment) -> retiring.RetireResult:
        handle = await client.start_workflow(
            RetireModel.run, retire_request(**changes), id="run_retire", task_queue=QUEUE
        )
        result = await handle.result()
        status = await handle.query(training.STATUS_QUERY, result_type=training.RunStatus)
        assert status.stage is Stage.DONE and status.message == result.message
        return result

    return run(story, [RetireModel], steps.activities())


def failed(steps: Retirement, **changes: Any) -> errors.MainspringError:
    async def story(client: Client, _: WorkflowEnvironment) -> errors.MainspringError:
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(
                RetireModel.run, retire_request(**changes), id="run_retire", task_queue=QUEUE
            )
        return temporal_errors.from_failure(caught.value)

    return run(story, [RetireModel], steps.activities())


def test_what_nobody_uses_is_withdrawn_and_unregistered() -> None:
    steps = Retirement()
    result = retired(steps)
    assert steps.calls == ["look", "withdraw", "told bundle.withdraw", "unregister", "told run.end"]
    assert (result.stage, result.moved, result.unanswered, result.aliases) == (
        Stage.DONE,
        [],
        [],
        ["champion"],
    )
    assert [e.actor for e in steps.events] == ["ana", "ana"]
    assert steps.events[1].detail["result"]["bundle_digest"] == CANDIDATE


def test_traffic_moves_before_it_is_withdrawn() -> None:
    steps = Retirement(stable_on=["aa", "bb"], shadow_on=["cc"])
    result = retired(steps, replace_by=STABLE)
    assert steps.calls[:5] == ["look", "move aa", "move bb", "move cc", "withdraw"]
    assert result.moved == ["aa", "bb", "cc"] and result.unanswered == []


def test_a_revocation_denies_first() -> None:
    steps = Retirement(stable_on=["aa"], shadow_on=["cc"])
    result = retired(steps, is_revocation=True)
    assert steps.calls == ["look", "withdraw", "told bundle.revoke", "unregister", "told run.end"]
    assert result.unanswered == ["aa"] and "nobody answers for `aa`" in result.message
    steps = Retirement(stable_on=["aa"], shadow_on=["cc"])
    result = retired(steps, is_revocation=True, replace_by=STABLE)
    assert steps.calls[:4] == ["look", "withdraw", "told bundle.revoke", "move aa"]
    assert result.moved == ["aa"] and result.unanswered == []


@pytest.mark.parametrize("step", [messages.LOOK, messages.MOVE, messages.WITHDRAW])
def test_a_refusal_ends_it_on_record_with_nothing_after_it(step: str) -> None:
    refusal = errors.Conflict("it is in use", resource="bundle", name=CANDIDATE)
    steps = Retirement(stable_on=["aa"], failing={step: refusal})
    error = failed(steps, replace_by=STABLE)
    assert isinstance(error, errors.Conflict) and error.message == "it is in use"
    assert steps.calls[-1] == "told run.end" and "unregister" not in steps.calls
    assert steps.events[-1].detail["stage"] == "failed"


def table(**changes: Any) -> deployment.TrafficTable:
    values = {"endpoint": "delay", "version": 4, "stable": CANDIDATE, **changes}
    return deployment.TrafficTable.model_validate(values)


class Serving:
    """What stands for serving: its routes by a transport, with the rule of versions."""

    def __init__(self, *tables: deployment.TrafficTable) -> None:
        self.tables = {t.endpoint: t for t in tables}
        self.asked: list[str] = []
        self.is_down = False
        self.races = 0
        """So many changes by others come between a look and a change."""

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self.is_down:
            raise httpx.ConnectError("refused")
        path = request.url.path
        self.asked.append(f"{request.method} {path}")
        if path == "/v1/endpoints":
            return httpx.Response(200, json=[self._view(t) for t in self.tables.values()])
        if path.endswith("/traffic"):
            return self._put(deployment.TrafficTable.model_validate_json(request.content))
        if path == "/v1/bundles:withdraw":
            asked = json.loads(request.content)
            return httpx.Response(200, json={**asked, "by": "service@local", "at": None})
        if path == "/v1/bundles:load":
            return httpx.Response(200, json={})
        return httpx.Response(200, json=self._view(self.tables[path.rpartition("/")[2]]))

    def _put(self, wanted: deployment.TrafficTable) -> httpx.Response:
        now = self.tables[wanted.endpoint]
        if self.races:
            self.races -= 1
            now = now.model_copy(update={"version": now.version + 1})
            self.tables[wanted.endpoint] = now
        if wanted.version != now.version + 1:
            refusal = errors.Conflict(f"version {now.version} is in force", resource="traffic", name="delay")
            return httpx.Response(409, json=errors.to_wire(refusal))
        self.tables[wanted.endpoint] = wanted
        return httpx.Response(200, json=self._view(wanted))

    def _view(self, one: deployment.TrafficTable) -> Any:
        return deployment.EndpointView(endpoint=one.endpoint, traffic=one).model_dump(mode="json")


class World:
    def __init__(self, directory: Path, *tables: deployment.TrafficTable) -> None:
        self.serving = Serving(*tables)
        in_force = settings.load({"MAINSPRING_STACK_STATE_DIR": str(directory)}, directory=directory)
        http = httpx.AsyncClient(
            base_url="http://serving", transport=httpx.MockTransport(self.serving.answer)
        )
        self.activities = RetiringActivities(in_force, http)
        self.store = in_force.serving.bundle_dir

    def move(self, **changes: Any) -> messages.Moved:
        asked = messages.Move(request=retire_request(**changes), endpoint="delay")
        return asyncio.run(ActivityEnvironment().run(self.activities.move, asked))

    def withdraw(self, **changes: Any) -> messages.Withdrawn:
        return asyncio.run(ActivityEnvironment().run(self.activities.withdraw, retire_request(**changes)))


def test_the_other_bundle_is_loaded_and_takes_the_whole_endpoint(tmp_path: Path) -> None:
    world = World(tmp_path, table(canary=STABLE, canary_percent=25, shadow=CANDIDATE))
    assert world.move(replace_by=STABLE) == messages.Moved(version=5, changed=True)
    assert world.serving.asked[0] == "POST /v1/bundles:load"
    assert world.serving.tables["delay"] == table(version=5, stable=STABLE, set_by="run_retire")
    assert world.move(replace_by=STABLE) == messages.Moved(version=5, changed=False)


def test_nobodys_canary_stays_behind_a_bundle_that_it_was_not_judged_against(tmp_path: Path) -> None:
    """Its deployment sees other traffic, and ends without a word to it: the share would stay, and the next one be refused."""
    world = World(tmp_path, table(canary="sha256:" + "e" * 64, canary_percent=25))
    assert world.move(replace_by=STABLE).changed
    assert world.serving.tables["delay"] == table(version=5, stable=STABLE, set_by="run_retire")


def test_a_shadow_leaves_and_a_stable_bundle_without_another_stays(tmp_path: Path) -> None:
    world = World(tmp_path, table(stable=STABLE, shadow=CANDIDATE))
    assert world.move().changed and world.serving.tables["delay"].shadow is None
    assert not World(tmp_path, table()).move().changed


def test_a_move_that_others_overtake_looks_again_and_gives_up_in_the_end(tmp_path: Path) -> None:
    world = World(tmp_path, table())
    world.serving.races = 2
    assert world.move(replace_by=STABLE).version == 7
    world = World(tmp_path, table())
    world.serving.races = 9
    with pytest.raises(ApplicationError, match="is in force") as caught:
        world.move(replace_by=STABLE)
    assert caught.value.type == "conflict" and world.serving.tables["delay"].stable == CANDIDATE


def test_a_revocation_is_marked_though_serving_is_down(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.serving.is_down = True
    with pytest.raises(ApplicationError) as caught:
        world.withdraw(is_revocation=True)
    assert not caught.value.non_retryable  # and goes on being tried
    mark = withdrawn.find(world.store, CANDIDATE)
    assert mark is not None and (mark.by, mark.is_revocation) == ("ana", True)
    assert "it leaks (ana, run_retire)" in mark.reason
    with pytest.raises(ApplicationError):
        world.withdraw()
    world.serving.is_down = False
    assert world.withdraw(is_revocation=True).by == "service@local"


def test_a_retirement_leaves_the_mark_to_serving(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.withdraw()
    assert withdrawn.marked(world.store) == frozenset()
    assert world.serving.asked == ["POST /v1/bundles:withdraw"]


def test_a_bundle_that_is_not_there_is_not_retired(tmp_path: Path) -> None:
    world = World(tmp_path)
    (tmp_path / "keys" / "trusted").mkdir(parents=True)
    with pytest.raises(ApplicationError) as caught:
        asyncio.run(ActivityEnvironment().run(world.activities.look, retire_request()))
    assert caught.value.type == "not_found"
