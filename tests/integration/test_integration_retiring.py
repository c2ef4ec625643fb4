"""The end of a bundle over a real server of predictions, a real Temporal and a real registry: nobody's request is refused."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowFailureError
from temporalio.testing import WorkflowEnvironment

for room in ("serving", "workflows"):
    sys.path.insert(0, str(Path(__file__).parents[2] / room / "tests"))

import serving_native_world as native_world  # noqa: E402
from serving_bundles import Home  # noqa: E402
from workflows_doubles import QUEUE, run  # noqa: E402

from mainspring.core import errors, settings  # noqa: E402
from mainspring.core.client.serving import ServingClient  # noqa: E402
from mainspring.core.contracts import retiring  # noqa: E402
from mainspring.core.contracts.deployment import TrafficTable  # noqa: E402
from mainspring.core.contracts.training import RunEvent  # noqa: E402
from mainspring.core.models import mlflow_adapter, withdrawn  # noqa: E402
from mainspring.workflows import errors as temporal_errors  # noqa: E402
from mainspring.workflows.deployment import messages as deployment_messages  # noqa: E402
from mainspring.workflows.retiring.activities import RetiringActivities  # noqa: E402
from mainspring.workflows.retiring.workflow import RetireModel  # noqa: E402

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    # MLflow's migrations and store use old forms of alembic and SQLAlchemy.
    pytest.mark.filterwarnings("default"),
    pytest.mark.timeout(280),
]

PROJECT = "plain-project"


class World:
    """Serving with the native front, two bundles of one project, the first of them registered and answering."""

    def __init__(self, directory: Path, url: str, token: str, home: Home) -> None:
        self.url, self.home, self.token = url, home, token
        self.one, self.other = (native_world.write_network(home, seed) for seed in (1, 2))
        environ = {
            "MAINSPRING_STACK_STATE_DIR": str(directory / "state"),
            "MAINSPRING_SERVING_BUNDLE_DIR": str(home.store.root),
            "MAINSPRING_SERVING_TRUSTED_KEYS_DIR": str(home.trusted),
            "MAINSPRING_TRACKING_URI": f"sqlite:///{directory / 'mlflow.db'}",
        }
        self.in_force = settings.load(environ, directory=directory)
        self.tracking = mlflow_adapter.Tracking(self.in_force.tracking.uri)
        made = self.tracking.register(
            PROJECT, self.one, mlflow_run_id=self.tracking.ensure_run(PROJECT, "run_1")
        )
        self.tracking.set_alias(PROJECT, "champion", made.version)
        self.events: list[RunEvent] = []
        with self.client() as client:
            client.load_bundle(self.one)
            client.set_traffic(TrafficTable(endpoint="flights", version=1, stable=self.one))

    def client(self) -> ServingClient:
        return ServingClient(self.url, token=self.token)

    def ask(self, http: httpx.Client) -> httpx.Response:
        return http.post(native_world.path("flights"), content=native_world.body(rows=[native_world.ROW]))

    def retire(self, **changes: Any) -> retiring.RetireResult | errors.MainspringError:
        @activity.defn(name=deployment_messages.REPORT_EVENT)
        async def report(asked: deployment_messages.ReportEvent) -> None:
            self.events.append(asked.event)

        values = {
            "run_id": f"run_{len(self.events)}",
            "project": PROJECT,
            "requested_by": "ana",
            "bundle_digest": self.one,
            "reason": "it leaks",
            **changes,
        }
        request = retiring.RetireRequest.model_validate(values)
        http = httpx.AsyncClient(
            base_url=self.url, headers={"authorization": f"Bearer {self.token}"}, trust_env=False
        )
        activities = [*RetiringActivities(self.in_force, http).all(), report]

        async def retired(client: Client, _: WorkflowEnvironment) -> Any:
            try:
                return await client.execute_workflow(
                    RetireModel.run, request, id=request.run_id, task_queue=QUEUE
                )
            except WorkflowFailureError as failure:
                return temporal_errors.from_failure(failure)
            finally:
                await http.aclose()

        return run(retired, [RetireModel], activities, real=True)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with native_world.serve(tmp_path, bundle_dir=tmp_path / "bundles") as (pair, home):
        token = pair.served.tokens.token_of("service@local")
        yield World(tmp_path, pair.served.url, token, home)


def test_a_model_is_replaced_under_load_without_a_refused_request(world: World) -> None:
    refused = world.retire()
    assert isinstance(refused, errors.Conflict) and "answers for `flights`" in refused.message
    assert withdrawn.marked(world.home.store.root) == frozenset()
    stop, statuses, models = threading.Event(), [], set()

    def load() -> None:
        with httpx.Client(base_url=world.url, trust_env=False) as http:
            while not stop.is_set():
                answer = world.ask(http)
                statuses.append(answer.status_code)
                models.add(answer.json().get("model_version"))

    asking = threading.Thread(target=load)
    asking.start()
    result = world.retire(replace_by=world.other)
    stop.set()
    asking.join()
    assert isinstance(result, retiring.RetireResult), result
    assert (result.moved, result.aliases, result.unanswered) == (["flights"], ["champion"], [])
    assert set(statuses) == {200} and len(statuses) > 100 and models == {world.one, world.other}
    with world.client() as client:
        assert client.endpoint("flights").traffic.stable == world.other
        assert [view.digest for view in client.bundles()] == [world.other]
        with pytest.raises(errors.PolicyDenied, match=r"it leaks \(ana, run_1\)"):
            client.load_bundle(world.one)
    found = world.tracking.find(PROJECT, world.one)
    assert found is not None and found.aliases == ()
    assert [e.action for e in world.events] == ["run.end", "bundle.withdraw", "run.end"]
    again = world.retire(run_id="run_again")
    assert isinstance(again, retiring.RetireResult) and again.aliases == ["champion"]


def test_a_revoked_model_answers_nobody_from_then_on(world: World) -> None:
    foreign = world.retire(project="another-project", is_revocation=True)
    assert isinstance(foreign, errors.InvalidRequest) and "is not of project" in foreign.message
    with httpx.Client(base_url=world.url, trust_env=False) as http:
        assert world.ask(http).status_code == 200
        result = world.retire(is_revocation=True)
        assert isinstance(result, retiring.RetireResult) and result.unanswered == ["flights"]
        assert world.ask(http).json()["code"] == "policy_denied"
        with world.client() as client:
            client.load_bundle(world.other)
            client.set_traffic(TrafficTable(endpoint="flights", version=2, stable=world.other))
        assert world.ask(http).status_code == 200
