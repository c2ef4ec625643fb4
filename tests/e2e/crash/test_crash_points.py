"""Whoever dies at whichever step: the run ends as one that nobody disturbed, and nothing is done twice."""

from __future__ import annotations

import random
from collections.abc import Iterator

import crash_plans
import crash_report
import crash_runs
import crash_world
import pytest
from crash_boundaries import WORKER, Order

pytestmark = [pytest.mark.soak, pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(420)]


FIXTURES = {
    crash_runs.DEPLOY: "deployments",
    crash_runs.CANCEL: "cancellations",
    crash_runs.TRAIN: "trainings",
}


def begin(tmp_path_factory: pytest.TempPathFactory, kind: str) -> Iterator[crash_runs.Runs]:
    parts, hold = crash_runs.PARTS[kind], kind == crash_runs.DEPLOY
    with crash_world.running(tmp_path_factory.mktemp(kind), *parts, hold=hold) as world:
        yield crash_runs.Runs.begin(world, kind)


@pytest.fixture(scope="module")
def deployments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[crash_runs.Runs]:
    yield from begin(tmp_path_factory, crash_runs.DEPLOY)


@pytest.fixture(scope="module")
def cancellations(deployments: crash_runs.Runs) -> crash_runs.Runs:
    return crash_runs.Runs.begin(deployments.world, crash_runs.CANCEL)


@pytest.fixture(scope="module")
def waits(deployments: crash_runs.Runs) -> crash_runs.Runs:
    return crash_runs.Runs.begin(deployments.world, crash_runs.WAIT)


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[crash_runs.Runs]:
    yield from begin(tmp_path_factory, crash_runs.TRAIN)


@pytest.mark.parametrize(
    "order",
    [
        Order(WORKER, "after", ("endpoint.set_traffic 2.1", "run.report_event 4.2")),
        Order("serving", "after", ("endpoint.probe 1.1",)),
        Order("control", "before", ("run.report_event 4.2",)),
        Order("temporal", "after", ("endpoint.set_traffic 1.1",)),
    ],
    ids=lambda order: f"{order.victim}-{order.side}",
)
def test_a_deployment_is_hit(deployments: crash_runs.Runs, order: Order) -> None:
    found = deployments.hit(order)
    assert {hit["point"] for hit in found["hits"]} == set(order.points)
    assert found["different"] == {}


def test_a_cancelled_deployment_is_hit_in_its_undo(cancellations: crash_runs.Runs) -> None:
    order = Order(WORKER, "after", ("endpoint.restore_traffic 1.1",))
    found = cancellations.hit(order)
    assert [hit["point"] for hit in found["hits"]] == list(order.points)
    assert found["different"] == {}


def test_a_paused_canary_is_hit_while_it_is_looked_at(deployments: crash_runs.Runs) -> None:
    """It stays paused, whoever looks at it, and each order is on record once."""
    paused = crash_runs.Runs.begin(deployments.world, crash_runs.PAUSE)
    order = Order(WORKER, "before", ("endpoint.watch 1.1",))
    found = paused.hit(order)
    assert [hit["point"] for hit in found["hits"]] == list(order.points)
    assert found["different"] == {} and found["stage"] == "rolled_back"


@pytest.mark.parametrize("victim", [WORKER, "temporal"])
def test_one_that_waits_is_hit_and_keeps_its_place(waits: crash_runs.Runs, victim: str) -> None:
    """It goes on when the one before it has gone back, as if nobody had died meanwhile."""
    order = Order(victim, "after", ("bundle.admit 0.1",))
    found = waits.hit(order)
    assert [hit["point"] for hit in found["hits"]] == list(order.points)
    assert found["different"] == {} and found["stage"] == "done"


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", sorted(crash_plans.PLANS))
def test_every_point(request: pytest.FixtureRequest, name: str) -> None:
    if not request.config.getoption("--every-point", default=False):
        pytest.skip("asked for by --every-point")
    plan = crash_plans.PLANS[name]
    runs: crash_runs.Runs = request.getfixturevalue(FIXTURES[plan.kind])
    if plan.victim not in (WORKER, *runs.world.servers):
        pytest.skip(f"there is no {plan.victim} here: it needs a file system of its own")
    found = runs.hit(plan.order(runs.points))
    report = crash_report.write(
        name, [found], wanted=runs.wanted, undisturbed_seconds=runs.undisturbed_seconds
    )
    assert report["points"] > 0
    assert found["different"] == {}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("piece", range(1, 5))
@pytest.mark.parametrize("kind", [crash_runs.DEPLOY, crash_runs.TRAIN])
def test_runs_are_hit_at_any_time(request: pytest.FixtureRequest, kind: str, piece: int) -> None:
    """In pieces of some minutes, each with kills of its own."""
    if not request.config.getoption("--every-point", default=False):
        pytest.skip("asked for by --every-point")
    runs: crash_runs.Runs = request.getfixturevalue(FIXTURES[kind])
    chance = random.Random(20131231 + piece)
    count = {crash_runs.DEPLOY: 5, crash_runs.TRAIN: 2}[kind]
    found = [runs.hit(None, runs.sudden(chance, 2)) for _ in range(count)]
    crash_report.write(
        f"{kind}-any-time-{piece}", found, wanted=runs.wanted, undisturbed_seconds=runs.undisturbed_seconds
    )
    assert [run for run in found if run["different"]] == []
