"""The scoring job on real local Ray: every row once and in order, killed and gone on, and what is wrong is said."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "workflows" / "tests"))

import integration_ray
import poisoned_project
import score_world

from mainspring.core import errors, projects
from mainspring.core.scoring import outputs, parts, places
from mainspring.workflows.ray_jobs import score_messages, score_part

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(280)]

ROWS = 6000


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> score_world.World:
    return score_world.World.make(tmp_path_factory.mktemp("world"), rows=ROWS)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A Ray of our own, whose processes find the tiny project."""
    folder = tmp_path_factory.mktemp("ray")
    paths = str(score_world.install(folder / "site")), os.environ.get("PYTHONPATH")
    variables = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with integration_ray.started(folder, 3, variables) as found:
        yield found


def submit(
    cluster: dict[str, str], folder: Path, spec: score_messages.ScoreSpec
) -> integration_ray.Job[score_messages.ScoreOutput]:
    return integration_ray.Job(
        cluster, folder, spec, score_messages.MODULE, score_messages.read_output, seconds=120
    )


def finish(spec: score_messages.ScoreSpec) -> outputs.Manifest:
    survey = parts.Survey(spec.survey(), {}, "")
    return outputs.Output(places.Place.at(spec.output), spec.identity).finish(survey, {})


def rows_of(spec: score_messages.ScoreSpec, manifest: outputs.Manifest) -> pl.DataFrame:
    return pl.concat(pl.read_parquet(Path(spec.output) / r.name) for r in manifest.parts)


@pytest.fixture(scope="module")
def straight(
    world: score_world.World, cluster: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[score_messages.ScoreSpec, score_messages.ScoreOutput]:
    """A scoring on two workers that nobody disturbs: 24 parts of 250 rows."""
    spec = world.spec(world.dataset(files=3), "straight", part_rows=250)
    return spec, submit(cluster, tmp_path_factory.mktemp("straight"), spec).output()


def test_every_row_has_one_score_in_its_place(
    straight: tuple[score_messages.ScoreSpec, score_messages.ScoreOutput],
) -> None:
    spec, output = straight
    assert (output.rows, output.parts, output.parts_found, output.num_workers) == (ROWS, 24, 0, 2)
    assert output.cpu_seconds > 0 and output.wall_seconds > 0
    manifest = finish(spec)
    found = rows_of(spec, manifest)
    assert found["row"].to_list() == list(range(ROWS))
    progress = score_messages.read_progress(spec.progress)
    assert progress is not None and (progress.parts_done, progress.rows_done) == (24, ROWS)


def test_ray_scores_as_one_process_does(
    straight: tuple[score_messages.ScoreSpec, score_messages.ScoreOutput],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec, _ = straight
    monkeypatch.setattr(projects, "BUILT_IN", {"tiny": "tiny_project:PROJECT"})
    alone = spec.model_copy(update={"output": str(tmp_path / "alone")})
    worker = score_part.PartScorer(alone)
    for index in range(len(alone.parts)):
        assert "error" not in worker({"index": index})
    assert finish(alone).scores_digest == finish(spec).scores_digest


def test_a_job_again_finds_all_parts_and_scores_none(
    straight: tuple[score_messages.ScoreSpec, score_messages.ScoreOutput],
    cluster: dict[str, str],
    tmp_path: Path,
) -> None:
    spec, first = straight
    before = {p.name: p.stat().st_mtime_ns for p in Path(spec.output).iterdir()}
    output = submit(cluster, tmp_path, spec).output()
    assert output.parts_found == output.parts == 24
    assert output.cpu_seconds <= first.cpu_seconds
    assert {p.name: p.stat().st_mtime_ns for p in Path(spec.output).iterdir()} == before


def test_a_bad_part_fails_the_job_and_keeps_the_good_ones(
    world: score_world.World, cluster: dict[str, str], tmp_path: Path
) -> None:
    at = pl.int_range(pl.len()) == ROWS - 1
    bad = world.dataset("bad", x=pl.when(at).then(float("inf")).otherwise("x").cast(pl.Float32))
    spec = world.spec(bad, "bad-out", part_rows=1000, num_workers=1)
    error = submit(cluster, tmp_path, spec).error()
    assert isinstance(error, errors.DataInvalid)
    assert f"rows {ROWS - 1000} to {ROWS - 1}" in error.message
    kept = outputs.Output(places.Place.at(spec.output), spec.identity).done()
    assert f"part-{ROWS // 1000 - 1:06d}.parquet" not in kept


def test_a_part_that_kills_its_workers_ends_the_job(
    world: score_world.World, cluster: dict[str, str], tmp_path: Path
) -> None:
    at = pl.int_range(pl.len()) == ROWS - 1
    poison = pl.when(at).then(poisoned_project.POISON).otherwise("x").cast(pl.Float32)
    digest = score_world.write_bundle(world.directory, world.fitted, project="poisoned")
    dataset = world.dataset("poison", x=poison)
    changes = {"project": "poisoned", "bundle_digest": digest, "part_rows": 1000}
    error = submit(cluster, tmp_path, world.spec(dataset, "poison-out", **changes)).error()
    assert isinstance(error, errors.JobFailed) and "died again and again" in error.message
    spec = world.spec(dataset, "poison-out", **changes)
    kept = outputs.Output(places.Place.at(spec.output), spec.identity).done()
    assert f"part-{ROWS // 1000 - 1:06d}.parquet" not in kept and kept


def test_an_output_of_another_scoring_is_left_as_it_is(
    straight: tuple[score_messages.ScoreSpec, score_messages.ScoreOutput],
    cluster: dict[str, str],
    tmp_path: Path,
) -> None:
    spec, _ = straight
    error = submit(cluster, tmp_path, spec.model_copy(update={"identity": "sha256:other"})).error()
    assert isinstance(error, errors.Conflict)
    finish(spec)


def test_no_cluster_is_said_at_once(
    world: score_world.World, cluster: dict[str, str], tmp_path: Path
) -> None:
    spec = world.spec(world.dataset(files=3), "nowhere")
    began = time.monotonic()
    error = submit({**cluster, "ADDRESS": "127.0.0.1:1"}, tmp_path, spec).error()
    assert isinstance(error, errors.DependencyDown) and time.monotonic() - began < 30


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_kills_lose_nothing_and_double_nothing(
    straight: tuple[score_messages.ScoreSpec, score_messages.ScoreOutput],
    world: score_world.World,
    cluster: dict[str, str],
    tmp_path: Path,
    seed: int,
) -> None:
    """kill -9 of the job, and of its workers with it, three times somewhere between the first part and the last."""
    spec = world.spec(world.dataset(files=3), f"killed-{seed}", part_rows=250)
    output = outputs.Output(places.Place.at(spec.output), spec.identity)
    chance = random.Random(seed)
    done: dict[str, str] = {}
    kills = 0
    for wanted in sorted(chance.sample(range(1, 23), 3)):
        job = submit(cluster, tmp_path, spec)
        until = time.monotonic() + 100
        while len(output.done()) < wanted and job.process.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        kills += job.process.poll() is None
        job.kill()
        found = {name: receipt.scores for name, receipt in output.done().items()}
        assert done.items() <= found.items(), "a part that was done is another one now"
        done = found
    assert kills > 0
    last = submit(cluster, tmp_path, spec).output()
    assert last.parts_found >= len(done) > 0
    manifest, undisturbed = finish(spec), finish(straight[0])
    assert manifest.scores_digest == undisturbed.scores_digest
    assert rows_of(spec, manifest)["row"].to_list() == list(range(ROWS))
    assert [p.name for p in Path(spec.output).iterdir() if p.name.startswith(".")] == []


def workers(cluster: dict[str, str]) -> list[int]:
    """The processes of this cluster that score parts."""
    mark = f"RAY_AUTH_TOKEN_PATH={cluster['RAY_AUTH_TOKEN_PATH']}".encode()
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if (
                b"PartScorer" in (process / "cmdline").read_bytes()
                and mark in (process / "environ").read_bytes()
            ):
                found.append(int(process.name))
    return found


@pytest.mark.soak
def test_a_worker_that_is_killed_is_made_anew(
    straight: tuple[score_messages.ScoreSpec, score_messages.ScoreOutput],
    world: score_world.World,
    cluster: dict[str, str],
    tmp_path: Path,
) -> None:
    spec = world.spec(world.dataset(files=3), "worker-killed", part_rows=250)
    output = outputs.Output(places.Place.at(spec.output), spec.identity)
    job = submit(cluster, tmp_path, spec)
    until = time.monotonic() + 100
    while not output.done() and job.process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    killed = workers(cluster)[:1]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert killed and len(output.done()) < 24, "the job was over before anything was killed"
    assert job.output().rows == ROWS
    assert finish(spec).scores_digest == finish(straight[0]).scores_digest
