"""The training job on real local Ray: it learns, repeats itself, goes on after a kill, and says what is wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import integration_ray
import numpy as np
import polars as pl
import pytest
from integration_training import data, spec_for, synthetic

from mainspring.core import errors
from mainspring.core.features import frames, ops, plan
from mainspring.core.models import evaluation, network, training
from mainspring.workflows.ray_jobs import train_messages

__all__ = ["data"]  # a fixture

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Its processes find the project `own` as an installed one."""
    installed = tmp_path_factory.mktemp("installed")
    about = installed / "own-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[mainspring.projects]\nown = own_project:PROJECT\n")
    beside = Path(__file__).parents[2] / "workflows" / "tests"
    paths = [str(installed), str(beside), *filter(None, [os.environ.get("PYTHONPATH")])]
    with integration_ray.started(
        tmp_path_factory.mktemp("ray"), 2, {"PYTHONPATH": os.pathsep.join(paths)}
    ) as found:
        yield found


def submit(
    cluster: dict[str, str], folder: Path, spec: train_messages.TrainSpec
) -> integration_ray.Job[train_messages.TrainOutput]:
    return integration_ray.Job(
        cluster, folder, spec, train_messages.MODULE, train_messages.read_output, seconds=200
    )


@pytest.fixture(scope="module")
def straight(
    data: Path, cluster: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, train_messages.TrainOutput]:
    """A training on two workers that nobody disturbs, and its folder."""
    folder = tmp_path_factory.mktemp("straight")
    return folder, submit(cluster, folder, spec_for(data, folder)).output()


def aucs(output: train_messages.TrainOutput, split: str, *, of: str = "score") -> float:
    rows = pl.read_parquet(output.predictions_path).filter(pl.col("split") == split)
    return evaluation.auc(rows["label"].to_numpy(), rows[of].to_numpy())


def test_it_learns_what_the_baseline_cannot(straight: tuple[Path, train_messages.TrainOutput]) -> None:
    _, output = straight
    assert aucs(output, "test") > aucs(output, "test", of="baseline_score") + 0.1 > 0.6
    assert [e.epoch for e in output.epochs] == list(range(len(output.epochs)))
    assert output.epochs[0].train_loss > output.epochs[-1].train_loss > 0
    best = max(output.epochs, key=lambda e: e.valid_auc)
    assert (
        best.valid_auc == output.epochs[output.best_epoch].valid_auc == pytest.approx(aucs(output, "valid"))
    )
    assert output.num_workers == 2 and output.resumed_epochs == 0
    assert output.wall_seconds > 0 and output.cpu_seconds > 0


def test_its_progress_points_to_the_checkpoint_that_is_there(
    data: Path, straight: tuple[Path, train_messages.TrainOutput]
) -> None:
    folder, output = straight
    spec = spec_for(data, folder)
    told = train_messages.told(spec)
    assert told is not None
    assert (told.step, told.unit, told.done) == ("train", "epoch", len(output.epochs))
    assert told.of == spec.model.epochs
    checkpoint = Path(told.checkpoint)
    assert checkpoint.parent == spec.storage_path / spec.run_name
    assert (checkpoint / "progress.pt").exists()


def test_predictions_are_the_weights_own_in_the_order_of_the_file(
    data: Path, straight: tuple[Path, train_messages.TrainOutput]
) -> None:
    _, output = straight
    rows = pl.read_parquet(data / "set.parquet").filter(pl.col("split") != "train")
    predictions = pl.read_parquet(output.predictions_path)
    assert predictions.columns == ["split", "label", "score", "baseline_score"]
    assert predictions["split"].to_list() == rows["split"].to_list()
    assert predictions["label"].to_list() == rows["late"].to_list()
    fitted = plan.FittedPlan.from_bytes((data / "plan.json").read_bytes())
    inputs = fitted.compile().run(frames.to_numpy(rows, fitted.inputs))
    examples = training.Examples.of(inputs, rows["late"].to_numpy())
    for column, weights, architecture in (
        ("score", output.weights_path, output.architecture),
        ("baseline_score", output.baseline_weights_path, output.baseline_architecture),
    ):
        model = network.load_weights(network.Architecture.parse(architecture), weights.read_bytes())
        np.testing.assert_allclose(training.predict(model, examples), predictions[column], rtol=1e-5)


@pytest.mark.soak
def test_a_killed_job_goes_on_where_it_was_and_ends_with_the_same_predictions(
    data: Path, cluster: dict[str, str], straight: tuple[Path, train_messages.TrainOutput], tmp_path: Path
) -> None:
    spec = spec_for(data, tmp_path)
    first = submit(cluster, tmp_path, spec)
    try:
        wait_for((spec.storage_path / spec.run_name / "checkpoint_manager_snapshot.json").exists, first)
    finally:
        first.kill()
    assert not first.out.exists()

    second = submit(cluster, tmp_path, spec)
    # A worker dies, too: Ray starts the group again, in the same job.
    wait_for(lambda: b"epoch " in second.log.read_bytes().partition(b"validation auc")[2], second)
    workers = {
        int(pid) for pid in re.findall(rb"RayTrainWorker pid=(\d+)\)\S* epoch ", second.log.read_bytes())
    }
    os.kill(max(workers), signal.SIGKILL)
    output = second.output()

    _, undisturbed = straight
    assert 0 < output.resumed_epochs < len(output.epochs)
    assert output.epochs == undisturbed.epochs
    assert output.cpu_seconds > 0
    assert output.weights_path.read_bytes() == undisturbed.weights_path.read_bytes()
    assert pl.read_parquet(output.predictions_path).equals(pl.read_parquet(undisturbed.predictions_path))


def wait_for(condition: Callable[[], bool], job: integration_ray.Job[train_messages.TrainOutput]) -> None:
    """Until it holds; fails when the job ends before."""
    while not condition():
        assert job.process.poll() is None, job.log.read_text()
        time.sleep(0.02)


@pytest.mark.soak
def test_one_worker_without_a_cluster_takes_the_same_steps(
    data: Path, cluster: dict[str, str], straight: tuple[Path, train_messages.TrainOutput], tmp_path: Path
) -> None:
    # The one difference is what dropout drops.
    spec = spec_for(data, tmp_path, num_workers=1, epochs=2)
    output = submit({**cluster, "ADDRESS": "local"}, tmp_path, spec).output()
    assert output.num_workers == 1 and len(output.epochs) == 2
    for one, two in zip(output.epochs, straight[1].epochs, strict=False):
        assert one.train_loss == pytest.approx(two.train_loss, abs=0.02)
        assert one.valid_auc == pytest.approx(two.valid_auc, abs=0.02)


def test_another_training_under_the_same_name_is_refused(
    data: Path, cluster: dict[str, str], straight: tuple[Path, train_messages.TrainOutput], tmp_path: Path
) -> None:
    error = submit(cluster, tmp_path, spec_for(data, straight[0], num_workers=1)).error()
    assert isinstance(error, errors.Conflict) and "run_name" in error.message


def test_an_elastic_training_begins_with_what_there_is_room_for(
    data: Path, cluster: dict[str, str], tmp_path: Path
) -> None:
    spec = spec_for(data, tmp_path, num_workers=3, min_workers=1, epochs=1, checkpoint_steps=5)
    output = submit(cluster, tmp_path, spec).output()
    assert output.num_workers == 2 and len(output.epochs) == 1


def test_a_diverging_worker_ends_the_training_for_all(
    data: Path, cluster: dict[str, str], tmp_path: Path
) -> None:
    rows = synthetic(2000)
    # The plan lets `a` through as it is, and one worker only meets this row.
    first = rows["split"].to_list().index("train")
    a = rows["a"].to_list()
    a[first] = float("inf")
    rows.with_columns(pl.Series("a", a, pl.Float32)).write_parquet(tmp_path / "set.parquet")
    raw = plan.TransformPlan(name="raw", columns=(plan.dense("a", ops.Impute()), plan.vocabulary("carrier")))
    (tmp_path / "plan.json").write_bytes(raw.fit(rows).to_bytes())
    error = submit(cluster, tmp_path, spec_for(tmp_path, tmp_path)).error()
    assert isinstance(error, errors.JobFailed)
    assert error.status == "diverged" and "learning_rate" in error.message


def test_what_is_wrong_is_said_in_one_line_and_in_the_file(
    data: Path, cluster: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "out.json").write_text("an answer of an earlier job")
    job = submit(cluster, tmp_path, spec_for(data, tmp_path, label="latte"))
    error = job.error()
    assert isinstance(error, errors.SchemaMismatch) and error.feature == "latte"
    assert "did you mean `late`" in error.message
    assert job.log.read_text() == f"error: {error.message}\n"
    assert json.loads(job.out.read_bytes()).keys() == {"error"}


def test_ray_that_does_not_answer_is_named(data: Path, cluster: dict[str, str], tmp_path: Path) -> None:
    error = submit({**cluster, "ADDRESS": "127.0.0.1:9"}, tmp_path, spec_for(data, tmp_path)).error()
    assert isinstance(error, errors.DependencyDown) and error.name == "ray" and error.retryable


def test_a_projects_own_training_is_one_task_that_has_the_workers_cores(
    data: Path, cluster: dict[str, str], tmp_path: Path
) -> None:
    output = submit(cluster, tmp_path, spec_for(data, tmp_path, project="own")).output()
    assert (output.kind, output.num_workers, len(output.epochs)) == ("embedding_mlp", 2, 1)
    assert output.cpu_seconds > 0 and 0 < aucs(output, "test") < 1
    small = pl.read_parquet(data / "set.parquet").filter(pl.col("split") != "valid")
    small.write_parquet(tmp_path / "small.parquet")
    asked = spec_for(data, tmp_path, project="own", training_set=tmp_path / "small.parquet")
    error = submit(cluster, tmp_path, asked).error()
    assert isinstance(error, errors.DataInvalid) and "split `valid` has no rows" in error.message
