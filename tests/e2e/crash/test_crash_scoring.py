"""The worker and the job die while a dataset is scored, and every row is scored once; a cancelled run leaves Ray idle."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import crash_bundles
import polars as pl
import pytest
from e2e_stack import PROJECT, World, running, wait

from mainspring.core.contracts import control, scoring
from mainspring.core.contracts.training import Stage
from mainspring.core.workspace import Workspace

pytestmark = [pytest.mark.soak, pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(280)]

FRACTION = 0.02


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("scoring"), "temporal", "ray", "control") as made:
        yield made


@pytest.fixture(scope="module")
def bundle_digest(world: World) -> str:
    return crash_bundles.untrained(world.s, PROJECT, FRACTION, seeds=(1,))[0]


def create_scoring(world: World, bundle_digest: str, name: str) -> tuple[str, pl.DataFrame]:
    """A batch scoring of every flight of the sample, in parts of 50; its rows."""
    source = Workspace(world.s.stack.state_dir, PROJECT, FRACTION).features / "requests.parquet"
    asked = control.RunCreate(
        project=PROJECT,
        kind=control.RunKind.SCORE,
        sample_fraction=FRACTION,
        bundle_digest=bundle_digest,
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


def test_a_scoring_outlives_its_worker_and_its_job(world: World, bundle_digest: str) -> None:
    """kill -9 of the worker, then of the job: another worker, another job, and every row scored once."""
    world.start_worker()
    run_id, rows = create_scoring(world, bundle_digest, "killed")
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

    undisturbed, _ = create_scoring(world, bundle_digest, "undisturbed")
    again = scoring.ScoreResult.model_validate(world.wait_for_end(undisturbed).result)
    assert again.scores_digest == result.scores_digest != ""


def test_a_cancelled_scoring_leaves_no_job_and_no_manifest(world: World, bundle_digest: str) -> None:
    run_id, _ = create_scoring(world, bundle_digest, "cancelled")
    wait_for_parts(world, "cancelled", 3)
    world.developer.cancel(run_id)
    assert world.wait_for_end(run_id).stage is Stage.CANCELLED
    assert {j["status"] for j in world.jobs(run_id).values()} == {"STOPPED"}
    folder = world.s.stack.state_dir / "scores" / "cancelled"
    assert not (folder / "manifest.json").exists()
    parts_now = len(list(folder.glob("part-*")))
    time.sleep(2)
    assert len(list(folder.glob("part-*"))) == parts_now, "a worker of Ray's writes on"
