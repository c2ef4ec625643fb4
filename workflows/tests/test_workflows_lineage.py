"""What a training and a deployment tell of their data, read back as a lineage store reads it; and a store that is down."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import job_double
import pytest
import tiny_project
from ray_double import TOKEN, RayDouble, serve
from temporalio.exceptions import ApplicationError

from mainspring.core import projects, settings
from mainspring.core.contracts import deployment, training
from mainspring.core.lineage import emitter, reading
from mainspring.workflows.deployment import activities as deployment_activities
from mainspring.workflows.deployment import messages as deployment_messages
from mainspring.workflows.training import activities, messages

T = TypeVar("T")
REQUEST = training.TrainRequest(run_id="run_1", project="tiny", requested_by="ana", seed=5)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> tiny_project.Tiny:
    project = tiny_project.Tiny()
    monkeypatch.setattr(tiny_project, "PROJECT", project)
    monkeypatch.setattr(projects, "BUILT_IN", {"tiny": "tiny_project:PROJECT"})
    return project


@pytest.fixture
def ray(tmp_path: Path) -> Iterator[str]:
    token = tmp_path / "state" / "ray" / "auth_token"
    token.parent.mkdir(parents=True)
    token.write_text(TOKEN + "\n")
    with serve(RayDouble(execute=job_double.run)) as double:
        yield double.url


def do(step: Awaitable[T]) -> T:
    async def main() -> T:
        return await step

    return asyncio.run(main())


def answering(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={})


class World:
    """Every activity over one state directory, telling by the transport that the settings name."""

    def __init__(self, directory: Path, ray_url: str, **lineage: str) -> None:
        variables = {f"MAINSPRING_LINEAGE_{k.upper()}": v for k, v in lineage.items()}
        self.settings = settings.load(
            {
                "MAINSPRING_STACK_STATE_DIR": str(directory / "state"),
                "MAINSPRING_RAY_DASHBOARD_URL": ray_url,
                "MAINSPRING_TRACKING_URI": f"sqlite:///{directory}/mlflow.db",
                **variables,
            },
            directory=directory,
        )
        tell = emitter.of(self.settings.lineage, control_url=self.settings.control_url, token="t")
        http = httpx.AsyncClient(transport=httpx.MockTransport(answering), base_url="http://other")
        trained = activities.TrainingActivities(self.settings, http, tell)
        self.data, self.model = trained._data, trained._model
        self.deploy = deployment_activities.DeploymentActivities(http, http, directory / "state", tell)

    def prepare(self) -> None:
        for name in ("ingest", "validate", "features", "join", "leak_check", "fit_plan"):
            do(getattr(self.data, name)(REQUEST))

    def train_and_bundle(self) -> messages.Bundled:
        trained = do(self.model.train(REQUEST))
        asked = messages.Evaluate(request=REQUEST, output_path=trained.output_path)
        found = do(self.model.evaluate(asked))
        bundled = do(
            self.model.bundle(
                messages.Bundle(
                    request=REQUEST, output_path=trained.output_path, metrics=found.metrics, gates=found.gates
                )
            )
        )
        do(
            self.model.register(
                messages.Register(
                    request=REQUEST, bundles=bundled, metrics=found.metrics, output_path=trained.output_path
                )
            )
        )
        return bundled

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.settings.lineage.file.read_text().splitlines()]

    def edges(self) -> set[reading.Edge]:
        by_run: dict[str, list[reading.Event]] = {}
        for event in map(reading.parse, self.events()):
            by_run.setdefault(event.run_id, []).append(event)
        return {edge for events in by_run.values() for edge in reading.edges(events)}


def downstream(edges: set[reading.Edge], start: reading.Node) -> set[reading.Node]:
    found, open_ = {start}, [start]
    while open_:
        here = open_.pop()
        for edge in edges:
            if edge.source == here and edge.target not in found:
                found.add(edge.target)
                open_.append(edge.target)
    return found - {start}


def node(edges: set[reading.Edge], name: str, column: str = "") -> reading.Node:
    (found,) = {n for e in edges for n in (e.source, e.target) if (n.name, n.column) == (name, column)}
    return found


@pytest.mark.filterwarnings("default")  # MLflow opens its database
def test_a_training_and_its_deployment_tell_from_source_to_endpoint(tmp_path: Path, ray: str) -> None:
    world = World(tmp_path, ray, transport="file")
    world.prepare()
    bundled = world.train_and_bundle()
    first = deployment.TrafficTable(endpoint="tiny", version=1, stable=bundled.candidate, set_by="run_2")
    second = first.model_copy(update={"version": 2, "stable": bundled.baseline})
    for table in (first, second):
        do(world.deploy.set_traffic(deployment_messages.SetTraffic(table=table, project="tiny")))
    events = world.events()
    assert {e["eventType"] for e in events} == {"START", "COMPLETE"}
    assert [e["job"]["name"] for e in events if e["eventType"] == "COMPLETE"] == [
        "training.ingest", "training.features", "training.join", "training.fit_plan", "training.train",
        "training.evaluate", "training.bundle", "training.register", "deployment.set_traffic", "deployment.set_traffic",
    ]  # fmt: skip
    edges = world.edges()
    model = reading.Node("tiny", "model", bundled.candidate)
    assert reading.Node("tiny", "endpoint.tiny", "1") in downstream(edges, node(edges, "source.made"))
    # Two steps of one deployment are two runs: the second version is not made of the first one's model.
    assert reading.Node("tiny", "endpoint.tiny", "2") not in downstream(edges, model)
    share = node(edges, "view.carrier_stats", "late_share")
    assert model in downstream(edges, share)
    assert node(edges, "training_set", "carrier_stats__late_share") in downstream(edges, share)
    # What is in the training set and in no plan feeds no model.
    unused = {n for e in edges for n in (e.source, e.target) if n.column == "due_us"}
    assert unused and all(n.name == "training_set" for n in unused)
    assert all(model not in downstream(edges, n) for n in unused)


def test_a_failed_step_is_told_as_failed_and_made_nothing(
    tmp_path: Path, ray: str, tiny: tiny_project.Tiny
) -> None:
    world = World(tmp_path, ray, transport="file")
    do(world.data.ingest(REQUEST))
    lake = world.settings.stack.state_dir / "projects" / "tiny" / "full" / "lake"
    (lake / "rows.parquet").write_bytes(b"damaged")
    with pytest.raises(ApplicationError):
        do(world.data.features(REQUEST))
    last = world.events()[-1]
    assert (last["eventType"], last["outputs"]) == ("FAIL", [])
    assert "is damaged" in last["run"]["facets"]["errorMessage"]["message"]


@pytest.mark.filterwarnings("default")  # MLflow opens its database
def test_a_store_that_is_down_or_never_answers_fails_no_training(tmp_path: Path, ray: str) -> None:
    world = World(tmp_path, ray, url="http://127.0.0.1:9", timeout_seconds="0.2")
    world.prepare()
    world.train_and_bundle()
    spooled = world.settings.lineage.spool.read_text().splitlines()
    assert len(spooled) == 16 and not world.settings.lineage.file.exists()

    with socket.socket() as silent:  # the kernel takes connections, nobody answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        slow = World(tmp_path / "slow", ray, url=url, timeout_seconds="0.3")
        began = time.monotonic()
        for name in ("ingest", "validate", "features"):
            do(getattr(slow.data, name)(REQUEST))
        took = time.monotonic() - began
    assert len(slow.settings.lineage.spool.read_text().splitlines()) == 4
    # Once the time limit, and not once for each event.
    assert took < 3
