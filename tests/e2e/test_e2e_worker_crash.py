"""The worker dies while Ray trains or scores, and nothing is lost or done twice; a cancelled run leaves Ray idle."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from mainspring.core import errors, identity, settings
from mainspring.core.client.control import ControlClient
from mainspring.core.contracts import control, scoring
from mainspring.core.contracts.training import Stage, TrainResult
from mainspring.core.models import mlflow_adapter
from mainspring.core.workspace import Workspace
from mainspring.platform.stack import parts, processes, stack

pytestmark = [
    pytest.mark.soak,
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(420),
    # MLflow's client uses old forms of SQLAlchemy.
    pytest.mark.filterwarnings("default"),
]

PROJECT = "flight-delay"


@dataclass
class World:
    """The stack without a worker, and the workers that a test starts."""

    s: settings.Settings
    developer: ControlClient
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_worker(self) -> subprocess.Popen[bytes]:
        ready = self.s.stack.state_dir / f"worker-{len(self.workers)}.ready"
        environment = settings.child_environment(self.s, parts.worker(self.s).environment)
        with (self.s.stack.state_dir / "workers.log").open("ab") as log:
            started = subprocess.Popen(
                [sys.executable, "-m", "mainspring.workflows.worker", "--ready-file", str(ready)],
                env=environment,
                stdout=log,
                stderr=log,
            )
        self.workers.append(started)
        wait(ready.exists, 60, "a worker")
        return started

    def create_run(self) -> str:
        asked = control.RunCreate(
            project=PROJECT, sample_fraction=0.02, epochs=2, auto_approve_by="developer@local"
        )
        return self.developer.create_run(asked).run_id

    def jobs(self, run_id: str) -> dict[str, dict[str, Any]]:
        """Ray's jobs of one run by submission id."""
        token = self.s.ray.token_file.read_text().strip()
        answer = httpx.get(
            f"{self.s.ray.dashboard_url}/api/jobs/",
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
            trust_env=False,
        )
        mine = (j for j in answer.json() if (j["submission_id"] or "").startswith(run_id))
        return {j["submission_id"]: j for j in mine}

    def wait_for_job(self, run_id: str) -> None:
        def runs() -> bool:
            return any(j["status"] == "RUNNING" for j in self.jobs(run_id).values())

        wait(runs, 120, "a running Ray job")

    def wait_for_end(self, run_id: str) -> control.RunView:
        ended = {Stage.DONE, Stage.FAILED, Stage.CANCELLED, Stage.REJECTED}
        wait(lambda: self.developer.run(run_id).stage in ended, 180, "the end of the run")
        return self.developer.run(run_id)


def wait(is_so: Callable[[], bool], seconds: float, what: str) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, f"waited {seconds} s for {what}"
        time.sleep(0.2)


def free_base() -> int:
    """A block of 200 ports whose first 20 nobody has now; below the ephemeral range."""
    for base in range(20_000 + os.getpid() % 50 * 200, 32_000, 200):
        with contextlib.suppress(errors.PortInUse):
            for port in range(base, base + 20):
                processes.check_port_free(port, "x")
            return base
    raise AssertionError("no free block of ports")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("crash")
    s = settings.load({"MAINSPRING_STACK_PORT_BASE": str(free_base())}, directory=folder)
    issuer = identity.ensure_token_file(s.control.tokens_file)
    made: World | None = None
    try:
        stack.up(s, [parts.PARTS[name](s) for name in ("temporal", "mlflow", "ray", "control")])
        with ControlClient(s.control_url, issuer.token_of("developer@local")) as developer:
            developer.create_project(control.ProjectCreate(name=PROJECT, owner="ana"))
            made = World(s, developer)
            yield made
    finally:
        for worker in made.workers if made is not None else []:
            worker.kill()
            worker.wait(30)
        stack.down(s)


def test_a_worker_killed_in_training_costs_nothing_but_time(world: World) -> None:
    first = world.start_worker()
    run_id = world.create_run()
    world.wait_for_job(run_id)
    first.kill()
    first.wait(30)
    time.sleep(2)  # nobody is there to poll; Ray trains on
    second = world.start_worker()
    ended = world.wait_for_end(run_id)
    assert ended.stage is Stage.DONE, ended.status
    assert list(world.jobs(run_id)) == [f"{run_id}-train-0"]
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
    run_id = world.create_run()
    world.wait_for_job(run_id)
    world.developer.cancel(run_id)
    ended = world.wait_for_end(run_id)
    assert ended.stage is Stage.CANCELLED
    assert {j["status"] for j in world.jobs(run_id).values()} == {"STOPPED"}


def test_a_worker_that_stops_in_training_leaves_the_job_to_the_next(world: World) -> None:
    """As in a rolling update: SIGTERM is no cancellation."""
    old = world.workers[-1]
    run_id = world.create_run()
    world.wait_for_job(run_id)
    old.send_signal(signal.SIGTERM)
    assert old.wait(60) == 0
    assert {j["status"] for j in world.jobs(run_id).values()} <= {"RUNNING", "SUCCEEDED"}
    world.start_worker()
    assert world.wait_for_end(run_id).stage is Stage.DONE
    assert list(world.jobs(run_id)) == [f"{run_id}-train-0"]


def create_scoring(world: World, name: str) -> tuple[str, pl.DataFrame]:
    """A batch scoring of every flight of the sample, in parts of 50, by the bundle that was trained above; its rows."""
    trained = next(
        r
        for r in world.developer.runs(project=PROJECT).items
        if r["stage"] == "done" and r["kind"] == "train"
    )
    source = Workspace(world.s.stack.state_dir, PROJECT, 0.02).features / "requests.parquet"
    asked = control.RunCreate(
        project=PROJECT,
        kind=control.RunKind.SCORE,
        sample_fraction=0.02,
        bundle_digest=trained["result"]["bundle_digest"],
        score=scoring.ScoreOptions(
            input=str(source), output=str(world.s.stack.state_dir / "scores" / name), part_rows=50
        ),
    )
    return world.developer.create_run(asked).run_id, pl.read_parquet(source)


def wait_for_parts(world: World, name: str, at_least: int) -> None:
    folder = world.s.stack.state_dir / "scores" / name
    wait(lambda: len(list(folder.glob("part-*.parquet"))) >= at_least, 120, f"{at_least} parts of {name}")


def kill_job(world: World, run_id: str) -> None:
    """kill -9 of the job's own process, by what its command line says."""
    found = [
        int(process.name)
        for process in Path("/proc").iterdir()
        if process.name.isdigit()
        and _runs(process, f"{world.s.stack.state_dir}", f"{run_id}/score-spec.json")
    ]
    assert found, "the job was over before it was killed"
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _runs(process: Path, *words: str) -> bool:
    with contextlib.suppress(OSError):
        command = (process / "cmdline").read_bytes().decode(errors="replace")
        return "ray_jobs.score" in command and all(word in command for word in words)
    return False


def test_a_scoring_outlives_its_worker_and_its_job(world: World) -> None:
    """kill -9 of the worker, then of the job: another worker, another job, and every row scored once."""
    world.start_worker()
    run_id, rows = create_scoring(world, "killed")
    wait_for_parts(world, "killed", 5)
    for worker in world.workers:
        worker.kill()
        worker.wait(30)
    kill_job(world, run_id)
    done = {
        p.name: p.stat().st_mtime_ns for p in (world.s.stack.state_dir / "scores" / "killed").glob("part-*")
    }
    assert 5 <= len(done) < -(-rows.height // 50)
    world.start_worker()
    ended = world.wait_for_end(run_id)
    assert ended.stage is Stage.DONE, ended.status
    result = scoring.ScoreResult.model_validate(ended.result)
    assert result.rows == rows.height
    found = pl.concat(pl.read_parquet(p) for p in sorted(Path(result.output).glob("part-*.parquet")))
    assert found.drop("score").equals(rows) and found["score"].is_between(0, 1).all()
    # What was done before the kill was not done again.
    now = {p.name: p.stat().st_mtime_ns for p in Path(result.output).glob("part-*")}
    assert done.items() <= now.items()
    jobs = world.jobs(run_id)
    assert [j["status"] for _, j in sorted(jobs.items())][-1] == "SUCCEEDED" and len(jobs) == 2
    ends = [row for row in world.developer.audit(limit=500).items if row["action"] == "run.end"]
    assert len([row for row in ends if row["resource"] == f"run/{run_id}"]) == 1
    assert 0 < ended.cost < 0.05

    undisturbed, _ = create_scoring(world, "undisturbed")
    again = scoring.ScoreResult.model_validate(world.wait_for_end(undisturbed).result)
    assert again.scores_digest == result.scores_digest != ""


def test_a_cancelled_scoring_leaves_no_job_and_no_manifest(world: World) -> None:
    run_id, _ = create_scoring(world, "cancelled")
    wait_for_parts(world, "cancelled", 3)
    world.developer.cancel(run_id)
    assert world.wait_for_end(run_id).stage is Stage.CANCELLED
    assert {j["status"] for j in world.jobs(run_id).values()} == {"STOPPED"}
    folder = world.s.stack.state_dir / "scores" / "cancelled"
    assert not (folder / "manifest.json").exists()
    parts_now = len(list(folder.glob("part-*")))
    time.sleep(2)
    assert len(list(folder.glob("part-*"))) == parts_now, "a worker of Ray's writes on"


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
