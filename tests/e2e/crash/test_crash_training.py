"""The worker dies while Ray trains, and nothing is lost or done twice; a cancelled run leaves Ray idle."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_stack import PROJECT, World, running

from mainspring.core import settings
from mainspring.core.contracts import control
from mainspring.core.contracts.training import Stage, TrainResult
from mainspring.core.models import mlflow_adapter

pytestmark = [
    pytest.mark.soak,
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(420),
    # MLflow's client uses old forms of SQLAlchemy.
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("crash"), "temporal", "mlflow", "ray", "control") as made:
        yield made


def create_run(world: World) -> str:
    asked = control.RunCreate(
        project=PROJECT, sample_fraction=0.02, epochs=2, auto_approve_by="developer@local"
    )
    return world.developer.create_run(asked).run_id


def test_a_worker_killed_in_training_costs_nothing_but_time(world: World) -> None:
    first = world.start_worker()
    run_id = create_run(world)
    world.wait_for_job(run_id)
    first.kill()
    first.wait(30)
    time.sleep(2)  # nobody is there to poll; Ray trains on
    second = world.start_worker()
    ended = world.wait_for_end(run_id)
    assert ended.stage is Stage.DONE, ended.status
    (job,) = world.jobs(run_id)
    assert job.startswith(f"{run_id}-train-") and job.endswith("-0")
    result = TrainResult.model_validate(ended.result)
    assert result.model_version == "1"
    assert result.bundle_digest is not None
    tracking = mlflow_adapter.Tracking(world.s.tracking.uri)
    version = tracking.find(PROJECT, result.bundle_digest)
    assert version is not None
    assert (version.version, version.run_id) == ("1", run_id)
    assert 0 < ended.cost < 0.01
    keys = [row["action"] for row in world.developer.audit().items]
    assert keys.count("model.register") == keys.count("run.end") == 1
    # A worker that is told to stop ends by itself, also with nothing to do.
    second.send_signal(signal.SIGTERM)
    assert second.wait(30) == 0
    assert not (world.s.stack.state_dir / "worker-1.ready").exists()


def test_a_cancelled_training_leaves_no_job_running(world: World) -> None:
    world.start_worker()
    run_id = create_run(world)
    world.wait_for_job(run_id)
    world.developer.cancel(run_id)
    ended = world.wait_for_end(run_id)
    assert ended.stage is Stage.CANCELLED
    assert {j["status"] for j in world.jobs(run_id).values()} == {"STOPPED"}


def test_a_worker_that_stops_in_training_leaves_the_job_to_the_next(
    request: pytest.FixtureRequest, world: World
) -> None:
    """As in a rolling update: SIGTERM is no cancellation."""
    if not request.config.getoption("--every-point", default=False):
        pytest.skip("asked for by --every-point: it trains once more")
    old = world.workers[-1]
    run_id = create_run(world)
    world.wait_for_job(run_id)
    old.send_signal(signal.SIGTERM)
    assert old.wait(60) == 0
    assert {j["status"] for j in world.jobs(run_id).values()} <= {"RUNNING", "SUCCEEDED"}
    world.start_worker()
    assert world.wait_for_end(run_id).stage is Stage.DONE
    (job,) = world.jobs(run_id)
    assert job.startswith(f"{run_id}-train-") and job.endswith("-0")


def test_workers_need_tokens_and_say_so(tmp_path: Path) -> None:
    s = settings.load({}, directory=tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "mainspring.workflows.worker"],
        env=settings.child_environment(s, {}),
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 78
    assert b"mainspring up" in done.stderr
    assert len(done.stderr.splitlines()) == 1
