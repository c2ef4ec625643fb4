"""Whoever dies at whichever step: the run ends as one that nobody disturbed, and nothing is done twice."""

from __future__ import annotations

from collections.abc import Iterator

import crash_plans
import crash_report
import crash_world
import pytest
from crash_boundaries import WORKER, Order

pytestmark = [pytest.mark.soak, pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(420)]


def begin(tmp_path_factory: pytest.TempPathFactory, kind: str) -> Iterator[crash_plans.Runs]:
    parts, hold = crash_plans.PARTS[kind], kind == crash_plans.DEPLOY
    with crash_world.running(tmp_path_factory.mktemp(kind), *parts, hold=hold) as world:
        yield crash_plans.Runs.begin(world, kind)


@pytest.fixture(scope="module")
def deployments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[crash_plans.Runs]:
    yield from begin(tmp_path_factory, crash_plans.DEPLOY)


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[crash_plans.Runs]:
    yield from begin(tmp_path_factory, crash_plans.TRAIN)


@pytest.mark.parametrize(
    "order",
    [
        Order(WORKER, "before", ("endpoint.read 0.1",)),
        Order(WORKER, "after", ("endpoint.set_traffic 2.1", "run.report_event 4.2")),
        Order("serving", "after", ("bundle.load 0.1", "endpoint.probe 1.1")),
        Order("control", "before", ("run.report_event 1.1", "run.report_event 4.2")),
        Order("temporal", "after", ("endpoint.set_traffic 1.1",)),
    ],
    ids=lambda order: f"{order.victim}-{order.side}",
)
def test_a_deployment_is_hit(deployments: crash_plans.Runs, order: Order) -> None:
    found = deployments.hit(order)
    assert {hit["point"] for hit in found["hits"]} == set(order.points)
    assert found["different"] == {}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", sorted(crash_plans.PLANS))
def test_every_point(request: pytest.FixtureRequest, name: str) -> None:
    if not request.config.getoption("--every-point", default=False):
        pytest.skip("asked for by --every-point")
    plan = crash_plans.PLANS[name]
    runs: crash_plans.Runs = request.getfixturevalue(
        "deployments" if plan.kind == crash_plans.DEPLOY else "trainings"
    )
    found = runs.hit(plan.order(runs.points))
    report = crash_report.write(name, found, wanted=runs.wanted, undisturbed_seconds=runs.undisturbed_seconds)
    assert report["points"] > 0
    assert found["different"] == {}
