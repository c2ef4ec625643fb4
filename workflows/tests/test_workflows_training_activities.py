"""Every step of a training for real on a tiny project: folders, gates, signed bundles, MLflow, policy, probes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import tiny_project
import training_world
from activity_calls import do, in_execution, refused
from ray_double import RayDouble
from training_doubles import AT
from training_world import World, request

from mainspring.core import errors, projects
from mainspring.core.contracts import inputs, prediction, training
from mainspring.core.features import plan
from mainspring.core.models import bundle, mlflow_adapter, native_runtime, network, samples, signing
from mainspring.core.supply import builders, sbom
from mainspring.workflows.ray_jobs import books, train_messages
from mainspring.workflows.training import (
    messages,
    model_activities,
    recorded_samples,
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> tiny_project.Tiny:
    return training_world.install(monkeypatch)


@pytest.fixture
def ray(tmp_path: Path) -> Iterator[RayDouble]:
    with training_world.ray(tmp_path) as double:
        yield double


def test_data_steps_say_what_they_were_made_from_and_reuse_what_is_there(tmp_path: Path) -> None:
    world = World(tmp_path)
    done = world.prepare(request())
    assert done["validate"].made_from == done["features"].made_from == done["ingest"].digest
    assert done["join"].made_from == done["features"].digest
    assert done["join"].detail["rows"] == {"train": 1800, "valid": 600, "test": 600}
    assert done["ingest"].detail["rows"] == 3000
    assert not any(d.reused for d in done.values())
    again = world.prepare(request(run_id="run_2"))
    assert [name for name, d in again.items() if d.reused] == ["ingest", "features", "join"]
    assert {n: d.digest for n, d in again.items()} == {n: d.digest for n, d in done.items()}
    sample = world.prepare(request(run_id="run_3", sample_fraction=0.5))
    assert sample["ingest"].detail["rows"] == 1500
    assert not sample["ingest"].reused


def test_the_plan_is_fitted_on_the_training_split_alone(tmp_path: Path) -> None:
    world = World(tmp_path)
    done = world.prepare(request())
    fitted = plan.FittedPlan.from_bytes(world.folder(request()).plan.read_bytes())
    assert fitted.fit_rows == 1800
    assert fitted.digest == done["fit_plan"].digest


def test_bad_data_and_a_leak_are_typed_ends(tmp_path: Path, tiny: tiny_project.Tiny) -> None:
    world = World(tmp_path)
    world.prepare(request())
    tiny.bad_rows = tiny.leaks = True
    error = refused(lambda: do(world.data.validate(request())))
    assert isinstance(error, errors.DataInvalid)
    assert error.failed == ("labels",)
    error = refused(lambda: do(world.data.leak_check(request())))
    assert isinstance(error, errors.LeakDetected)
    assert error.features == ("carrier_stats__late_share",)
    error = refused(lambda: do(world.data.ingest(request(project="tinny"))))
    assert isinstance(error, errors.NotFound)
    assert error.did_you_mean == ("tiny",)


def test_training_is_submitted_once_and_metered(tmp_path: Path, ray: RayDouble) -> None:
    world = World(tmp_path, ray.url)
    world.prepare(request())
    trained = do(world.model.train(request()))
    assert trained == do(world.model.train(request()))
    assert ray.submitted == ["run_1-train-none-0"]
    assert trained.usage.usage_key == "run_1/train/none/0"
    assert trained.usage.consumed_quantity == pytest.approx(0.001)
    assert trained.usage.capacity == "spot"
    assert trained.detail["epochs"] >= 1
    do(world.all.report_usage(messages.ReportUsage(record=trained.usage)))
    assert world.posted[0][0] == "/api/v1/usage"
    assert training.UsageRecord.model_validate(world.posted[0][1]) == trained.usage


def test_a_run_started_again_has_a_job_of_its_own(tmp_path: Path, ray: RayDouble) -> None:
    """The error of the first execution's job stays with it."""
    world = World(tmp_path, ray.url)
    world.prepare(request())
    plan_file = world.folder(request()).plan
    good = plan_file.read_text()
    plan_file.write_text("{}")
    for _ in range(2):  # the second time is another worker of the same execution
        error = refused(lambda: in_execution("11111111-a", world.model.train, request()))
        assert isinstance(error, errors.SchemaMismatch)
    plan_file.write_text(good)
    trained = in_execution("22222222-b", world.model.train, request())
    assert ray.submitted == ["run_1-train-11111111-0", "run_1-train-22222222-0"]
    assert trained.usage.usage_key == "run_1/train/22222222/0"
    assert trained == in_execution("22222222-b", world.model.train, request())


def test_what_an_earlier_execution_has_paid_is_not_paid_again(tmp_path: Path) -> None:
    folder = World(tmp_path).folder(request())
    assert folder.metered("a", 10.0, goes_on=False) == 10.0
    for _ in range(2):
        assert folder.metered("b", 14.0, goes_on=True) == 4.0
    assert folder.metered("c", 15.0, goes_on=True) == 1.0
    assert folder.metered("d", 9.0, goes_on=False) == 9.0, "it began anew"


def test_a_checkpoint_is_gone_on_from_by_the_same_training_only(tmp_path: Path, ray: RayDouble) -> None:
    world = World(tmp_path, ray.url)
    world.prepare(request())

    def name(**changes: Any) -> str:
        in_execution("x" * 8, world.model.train, request(**changes))
        return train_messages.read_spec(world.folder(request()).spec).run_name

    first = name()
    assert name() == first
    assert len({first, name(seed=8), name(epochs=1), name(num_workers=1)}) == 4


def test_a_rolling_split_is_the_runs_own(tmp_path: Path, ray: RayDouble) -> None:
    world = World(tmp_path, ray.url)
    world.prepare(request())
    shared = world.folder(request()).kept(projects.TrainingSetReport)
    at = pl.read_parquet(shared.path)["as_of"]
    days = (at.max() - at.min()).total_seconds() / 86_400  # type: ignore[operator, union-attr]
    asked = request(
        run_id="run_2",
        split={"until": at.max(), "test_days": days / 4, "valid_days": days / 4},
    )
    world.prepare(asked)
    own = world.folder(asked).kept(projects.TrainingSetReport)
    assert own.path.parent == world.folder(asked).root and own.path != shared.path
    assert own.digest != shared.digest and own.feature_digest == shared.feature_digest
    rows = pl.read_parquet(own.path)
    assert (
        rows.filter(pl.col("split") == "train")["as_of"].max()
        < rows.filter(  # type: ignore[operator]
            pl.col("split") == "test"
        )["as_of"].min()
    )
    do(world.model.train(asked))
    assert train_messages.read_spec(world.folder(asked).spec).training_set == own.path


def test_a_job_that_says_what_is_wrong_is_not_tried_again(tmp_path: Path, ray: RayDouble) -> None:
    world = World(tmp_path, ray.url)
    world.prepare(request())
    world.folder(request()).plan.write_text("{}")
    error = refused(lambda: do(world.model.train(request())))
    assert isinstance(error, errors.SchemaMismatch)
    assert error.feature == "schema_version"
    assert len(ray.submitted) == 1


def test_metrics_are_held_against_both_peers_and_the_gates(
    tmp_path: Path, ray: RayDouble, tiny: tiny_project.Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, ray.url)
    world.prepare(request())
    trained, found = world.evaluate(request())
    assert set(found.metrics) == {
        f"{s}{p}" for s in ("test", "valid") for p in ("", "/logistic_regression", "/base_rate")
    }
    # The label follows a product that a line cannot see.
    assert found.metrics["test"].auc > found.metrics["test/logistic_regression"].auc + 0.05
    assert found.metrics["test/base_rate"].auc == 0.5
    assert found.metrics["test"].rows == 600
    assert not found.gates["relaxed"]

    asked = messages.Evaluate(request=request(), output_path=trained.output_path)
    tiny.min_auc = 0.95
    error = refused(lambda: do(world.model.evaluate(asked)))
    assert isinstance(error, errors.GateFailed)
    assert error.gate == "min_auc"
    split = training.RollingSplit(until=AT)
    rolling = asked.model_copy(update={"request": request(split=split)})
    assert isinstance(refused(lambda: do(world.model.evaluate(rolling))), errors.GateFailed)
    own = tiny.quality_gates().model_copy(update={"min_auc": 0.6})
    monkeypatch.setattr(tiny, "rolling_gates", lambda: own, raising=False)
    assert do(world.model.evaluate(rolling)).gates["min_auc"]["expected"] == ">= 0.6000"
    assert isinstance(refused(lambda: do(world.model.evaluate(asked))), errors.GateFailed)
    sample = request(split=split, sample_fraction=0.5)
    assert model_activities._gates(tiny, sample) == tiny.quality_gates(relaxed=True)
    tiny.min_auc, tiny.alarm_auc = 0.5, 0.6
    error = refused(lambda: do(world.model.evaluate(asked)))
    assert isinstance(error, errors.LeakDetected)
    assert set(error.features) == {"x", "y", "carrier_stats__late_share"}


def test_bundles_are_signed_open_in_serving_and_the_same_again(tmp_path: Path, ray: RayDouble) -> None:
    world = World(tmp_path, ray.url)
    world.prepare(request())
    made, found = world.bundle(request())
    trust = signing.TrustedKeys.load(world.settings.serving.trusted_keys_dir)
    store = bundle.BundleStore(world.settings.serving.bundle_dir)
    candidate, baseline = (store.open(d, trust) for d in (made.candidate, made.baseline))
    assert candidate.manifest.metrics == found.metrics
    assert set(baseline.manifest.metrics) == {"test", "valid"}
    assert candidate.manifest.plan_digest == baseline.manifest.plan_digest
    assert (candidate.manifest.name, baseline.manifest.name) == ("tiny", "tiny-baseline")
    assert candidate.manifest.service == tiny_project.SERVICE
    for opened in (candidate, baseline):
        network.load_weights(network.Architecture.parse(opened.model), opened.weights)
        fitted = plan.FittedPlan.from_bytes(opened.plan)
        assert fitted.inputs == opened.manifest.input_columns
    assert f"{found.metrics['test'].auc:.4f}" in candidate.read(bundle.CARD).decode()
    declared = inputs.InputPolicy.model_validate_json(candidate.read(inputs.FILE))
    train = pl.read_parquet(world.folder(request()).kept(projects.TrainingSetReport).path).filter(
        split="train"
    )
    assert set(declared.columns) == {"x", "y", "carrier_stats__late_share"}
    for name, column in declared.columns.items():
        assert (column.low, column.high) == (train[name].min(), train[name].max())
        assert (column.out_of_range, column.is_pii) == ("warn", False)
    for opened in (candidate, baseline):
        recorded = samples.parse(opened.read(samples.FILE), opened.digest)
        compiled = plan.FittedPlan.from_bytes(opened.plan).compile()
        answers = native_runtime.NativeRuntime.load(opened).predict(
            compiled.run(recorded.arrays(compiled.inputs))
        )
        assert recorded.n_rows == recorded_samples.ROWS
        assert recorded.scores == tuple(map(float, answers))
    # The worker died before it could say so: the next one makes the same bundles.
    assert world.bundle(request())[0] == made
    assert len(store.list()) == 2
    rows = world.folder(request()).kept(projects.TrainingSetReport)
    for opened in (candidate, baseline):
        origin = opened.origin
        assert origin is not None and origin.builder == builders.TRAIN
        assert origin.parameters["run_id"] == "run_1" and origin.parameters["seed"] == 5
        materials = {m.name: m.digest for m in origin.materials}
        assert materials["training-set"] == {"sha256": rows.digest.removeprefix("sha256:")}
        assert materials["plan"] == {"sha256": opened.manifest.plan_digest.removeprefix("sha256:")}
        assert len(materials["project-code"]["sha256"]) == 64
        packages = {p.name for p in sbom.packages_of(opened.read(sbom.FILE), opened.digest)}
        assert {"numpy", "torch", "polars"} <= packages


def test_what_a_bundle_is_built_by_and_of_is_asked_before_it_is_admitted(
    tmp_path: Path, ray: RayDouble
) -> None:
    """The provenance says when, by the execution's own times, and rules of today decide on what is in it."""
    world = World(tmp_path, ray.url)
    world.prepare(request())
    trained, found = world.evaluate(request())
    asked = messages.Bundle(
        request=request(),
        output_path=trained.output_path,
        metrics=found.metrics,
        gates=found.gates,
        started_at=datetime(2026, 11, 1, 8, tzinfo=UTC),
    )
    made = in_execution("exec-1", world.model.bundle, asked)
    trust = signing.TrustedKeys.load(world.settings.serving.trusted_keys_dir)
    opened = bundle.BundleStore(world.settings.serving.bundle_dir).open(made.candidate, trust)
    assert opened.origin is not None and opened.origin.invocation.endswith("/exec-1")
    assert opened.origin.started_at == "2026-11-01T08:00:00Z" and opened.origin.finished_at
    in_prod = messages.Admit(request=request(environment="prod"), bundles=made)
    admitted = do(world.model.admit(in_prod))
    assert {"supply.builder", "supply.bill", "supply.vulnerabilities"} <= set(admitted.rules)
    rules = world.settings.models.supply_rules
    rules.parent.mkdir(parents=True)
    rules.write_text('[packages]\ndeny = { numpy = "" }\n')
    error = refused(lambda: do(world.model.admit(in_prod)))
    assert isinstance(error, errors.PolicyDenied) and error.rule_id == "supply.packages"
    rules.write_text("[packages]\ndeny = 3\n")
    assert isinstance(refused(lambda: do(world.model.admit(in_prod))), errors.InvalidSettings)
    rules.unlink()
    (world.settings.serving.trusted_keys_dir / builders.FILE).write_text("https://ci.example/builder\n")
    error = refused(lambda: do(world.model.admit(in_prod)))
    assert isinstance(error, errors.PolicyDenied) and error.rule_id == "bundle.builder"


def test_policy_rests_on_the_bundle_itself(tmp_path: Path, ray: RayDouble) -> None:
    world = World(tmp_path, ray.url)
    world.prepare(request())
    made, _ = world.bundle(request())
    admitted = do(world.model.admit(messages.Admit(request=request(), bundles=made)))
    assert "bundle.leak-checked" in admitted.rules
    in_prod = request(environment="prod", sample_fraction=0.5)
    error = refused(lambda: do(world.model.admit(messages.Admit(request=in_prod, bundles=made))))
    assert isinstance(error, errors.PolicyDenied)
    assert error.rule_id == "bundle.prod.full-data"
    for key in world.settings.serving.trusted_keys_dir.iterdir():
        key.unlink()
    error = refused(lambda: do(world.model.admit(messages.Admit(request=request(), bundles=made))))
    assert isinstance(error, errors.PolicyDenied)
    assert error.rule_id == "bundle.trusted-signer"


@pytest.mark.slow
# MLflow's migrations and store use old forms of alembic and SQLAlchemy.
@pytest.mark.filterwarnings("default")
def test_registered_once_with_its_curve_and_made_champion(tmp_path: Path, ray: RayDouble) -> None:
    world = World(tmp_path, ray.url)
    world.prepare(request())
    made, found = world.bundle(request())
    output = str(world.folder(request()).output("none", 0))
    asked = messages.Register(request=request(), bundles=made, metrics=found.metrics, output_path=output)
    assert do(world.model.register(asked)) == messages.Registered(name="tiny", version="1")
    assert do(world.model.register(asked)).version == "1"
    do(world.model.set_champion(messages.SetChampion(model=messages.Registered(name="tiny", version="1"))))
    tracking = mlflow_adapter.Tracking(world.settings.tracking.uri)
    version = tracking.by_alias("tiny", "champion")
    assert (version.bundle_digest, version.run_id) == (made.candidate, "run_1")
    assert version.aliases == ("candidate", "champion")


def test_recorded_probes_are_requests_that_the_bundle_admits(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.prepare(request())
    done = do(world.data.record_probes(request()))
    lines = world.folder(request()).space.probes.read_text().splitlines()
    assert done.detail == {"recorded": 200}
    first = prediction.PredictRequest.model_validate_json(lines[0])
    assert first.entities is not None
    assert set(first.entities[0]) == {"carrier", "x", "y", "due_us"}
    assert len(lines) == 200


def test_a_step_out_of_order_says_which_one_is_missing(tmp_path: Path) -> None:
    error = refused(lambda: do(World(tmp_path).data.fit_plan(request())))
    assert isinstance(error, errors.NotFound)
    assert "TrainingSetReport" in error.message


def test_gpus_of_a_training_are_metered_by_the_clock(tmp_path: Path, ray: RayDouble) -> None:
    world = World(tmp_path, ray.url, train_device="gpu")
    world.prepare(request())
    book = books.Book(root=world.folder(request()).root / "books", family="none")
    for _ in range(2):  # workers, each with its own
        with book.keeping(lambda: 36.0, lambda: 0):
            pass
    wall = book.unpaid().wall_seconds
    trained = do(world.model.train(request()))
    (gpu,) = trained.more_usage
    assert (gpu.usage_key, gpu.sku, gpu.consumed_unit) == (
        f"{trained.usage.usage_key}/gpu",
        "gpu_hour",
        "gpu-hours",
    )
    assert gpu.consumed_quantity * 3600 == pytest.approx(wall) and wall > 0
    assert gpu.capacity == "spot" and trained.usage.consumed_quantity * 3600 == pytest.approx(72.0)


def test_usage_times_come_from_the_job(tmp_path: Path, ray: RayDouble) -> None:
    ray.started_ms = int(AT.timestamp() * 1000)
    world = World(tmp_path, ray.url)
    world.prepare(request())
    assert do(world.model.train(request())).usage.started_at == AT
