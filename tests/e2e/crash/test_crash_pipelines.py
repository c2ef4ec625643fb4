"""A pipeline of a file runs on the real stack by its command: mapped, approved, its worker killed, mended and resumed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e_stack import PROJECT, World, running, wait

from mainspring.core import settings
from mainspring.core.contracts.training import Stage
from mainspring.core.pipelines import PipelineStore

pytestmark = [pytest.mark.soak, pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(280)]

SOURCE = """
import time
from pathlib import Path
from mainspring.core.pipelines import approval, each, pipeline, step

@step(cpus=0.5)
def months(log: str) -> list[str]:
    with open(log, "a") as file:
        file.write("months\\n")
    time.sleep(4)
    return ["jan", "feb"]

@step(cpus=0.5)
def letters(month: str, log: str) -> int:
    with open(log, "a") as file:
        file.write(month + "\\n")
    return len(month)

@step(cpus=0.5)
def report(counts: list[int]) -> Path:
    raise RuntimeError("not yet")

@pipeline(project="flight-delay")
def letters_of(log: str) -> Path:
    return approval(report(letters(each(months(log)), log)), count=1)
"""
MENDED = SOURCE.replace(
    'raise RuntimeError("not yet")', 'p = Path("r.txt"); p.write_text(str(sum(counts))); return p'
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("pipelines"), "temporal", "ray", "control") as made:
        yield made


def mainspring(world: World, *words: str) -> Any:
    """The data of a command's JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "mainspring.platform.cli.main", *words, "--json"],
        env={**settings.child_environment(world.s, {}), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)["data"]


def test_a_pipeline_outlives_its_worker_fails_is_mended_and_goes_on(world: World, tmp_path: Path) -> None:
    file, log = tmp_path / "letters_of.py", tmp_path / "log.txt"
    file.write_text(SOURCE)
    world.start_worker()
    began = time.monotonic()
    run_id = mainspring(world, "run", str(file), "--set", f"log={log}")["run_id"]
    wait(log.exists, 120, "the first step")
    for worker in world.workers:
        worker.kill()
        worker.wait(30)
    world.start_worker()
    failed = world.wait_for_end(run_id)
    assert failed.stage is Stage.FAILED and "step `report` failed" in str(failed.result["message"])
    assert sorted(log.read_text().split()) == ["feb", "jan", "months"], "each step's code ran once"
    assert len(world.jobs(run_id)) == 4
    print(f"first run: {time.monotonic() - began:.1f} s")

    file.write_text(MENDED)
    began = time.monotonic()
    again = mainspring(world, "run", str(file), "--resume", run_id)["run_id"]
    wait(lambda: world.developer.run(again).stage is Stage.APPROVAL, 120, "the approval")
    shown = {node["name"]: node for node in mainspring(world, "pipeline", "show", again)["nodes"]}
    assert [shown[n]["tries"] for n in ("months", "letters", "report")] == [0, 0, 1]
    assert shown["report"]["why_not_cached"] == "it was not done before"
    mainspring(world, "pipeline", "decide", again, "approve")
    done = world.wait_for_end(again)
    assert done.stage is Stage.DONE and len(world.jobs(again)) == 1
    store = PipelineStore.of(world.s.stack.state_dir, PROJECT)
    assert store.open(done.result["answers"]["answer"]["digest"]).read_text() == "6"
    assert len(log.read_text().split()) == 3
    print(f"resumed: {time.monotonic() - began:.1f} s")

    said = [(r["action"], r["actor"]) for r in world.developer.audit(limit=500).items]
    assert said.count(("run.end", "developer@local")) == 2
    assert ("approval.decide", "approver@local") in said and ("pipeline.put", "developer@local") in said
    assert 0 < failed.cost < 0.05
