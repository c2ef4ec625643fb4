"""A candidate is looked at as its project asks for: in parts and between groups, in its answer, its card and its evidence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tiny_project
import training_world
from activity_calls import do, in_execution, refused
from ray_double import RayDouble
from training_world import World, request

from mainspring.core import errors, projects
from mainspring.core.contracts import evaluation as looks
from mainspring.core.models import bundle, latency, signing
from mainspring.workflows.ray_jobs import train_messages
from mainspring.workflows.training import apart, champion, messages, model_activities


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> tiny_project.Tiny:
    return training_world.install(monkeypatch)


@pytest.fixture
def ray(tmp_path: Path) -> Iterator[RayDouble]:
    with training_world.ray(tmp_path) as double:
        yield double


def asks(monkeypatch: pytest.MonkeyPatch, tiny: tiny_project.Tiny, **values: object) -> None:
    asked = projects.Evaluation.model_validate(values)
    monkeypatch.setattr(tiny, "evaluation", lambda: asked, raising=False)


def gated(monkeypatch: pytest.MonkeyPatch, tiny: tiny_project.Tiny, **gates: object) -> None:
    own = tiny.quality_gates().model_copy(update=gates)
    monkeypatch.setattr(tiny, "quality_gates", lambda **_: own)


def test_slices_and_groups_are_told_signed_and_judged(
    tmp_path: Path, ray: RayDouble, tiny: tiny_project.Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks(monkeypatch, tiny, slices=("carrier",), fairness=("carrier",), min_rows=20)
    world = World(tmp_path, ray.url)
    world.prepare(request())
    made, found = world.bundle(request())
    test = pl.read_parquet(world.folder(request()).kept(projects.TrainingSetReport).path).filter(split="test")
    by_carrier = {one.value: one for one in found.evaluation.slices}
    assert set(by_carrier) == {"AA", "DL", "UA", "WN"}
    for carrier, one in by_carrier.items():
        rows = test.filter(carrier=carrier)
        assert (one.rows, one.base_rate) == (rows.height, pytest.approx(rows["late"].mean()))
        assert one.auc is not None and one.auc > 0.5
    (fair,) = found.evaluation.fairness
    # Later carriers are late more often, by construction: the model says so.
    rates = {g.value: g.selection_rate for g in fair.groups}
    assert rates["WN"] is not None and rates["AA"] is not None and rates["WN"] > rates["AA"] + 0.1

    trust = signing.TrustedKeys.load(world.settings.serving.trusted_keys_dir)
    store = bundle.BundleStore(world.settings.serving.bundle_dir)
    candidate, baseline = (store.open(d, trust) for d in (made.candidate, made.baseline))
    card = candidate.read(bundle.CARD).decode()
    assert f"| carrier | WN | {by_carrier['WN'].rows} |" in card
    assert f"demographic parity difference {fair.demographic_parity_difference:.4f}" in card
    told = json.loads(candidate.read(model_activities.EVALUATION_EVIDENCE))
    assert looks.Evaluation.model_validate(told) == found.evaluation
    assert model_activities.EVALUATION_EVIDENCE not in baseline.manifest.files
    timed = found.evaluation.latency
    assert timed is not None and f"99th percentile {timed.p99_ms:.3f} ms" in card and timed.machine in card

    asked = messages.Evaluate(request=request(), output_path=str(world.folder(request()).output("none", 0)))
    gated(monkeypatch, tiny, max_fairness_gap=0.05)
    error = refused(lambda: do(world.model.evaluate(asked)))
    assert isinstance(error, errors.GateFailed) and error.gate == "max_fairness_gap"
    assert "groups of `carrier`" in error.message and "`WN`" in error.message and "`AA`" in error.message
    gated(monkeypatch, tiny, max_fairness_gap=1.0)
    gap = max(fair.demographic_parity_difference or 0, fair.equalized_odds_difference or 0)
    assert do(world.model.evaluate(asked)).gates["max_fairness_gap"] == {"expected": "<= 1.0000", "got": gap}

    predictions = train_messages.read_output(Path(asked.output_path)).predictions_path
    pl.read_parquet(predictions).reverse().write_parquet(predictions)
    assert isinstance(refused(lambda: do(world.model.evaluate(asked))), errors.InvariantViolated)


def test_a_column_that_is_not_there_ends_it_before_anything_is_learned(
    tmp_path: Path, tiny: tiny_project.Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    world.prepare(request())
    for column, got in (("colour", "no such column"), ("x", "Float32")):
        asks(monkeypatch, tiny, fairness=(column,))
        error = refused(lambda: do(world.data.fit_plan(request())))
        assert isinstance(error, errors.SchemaMismatch)
        assert (error.feature, error.got) == (column, got)


def test_a_row_is_timed_once_an_execution_and_held_against_its_budget(
    tmp_path: Path, ray: RayDouble, tiny: tiny_project.Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, ray.url)
    world.prepare(request())
    trained, found = world.evaluate(request())
    timed = found.evaluation.latency
    assert timed is not None and 0 < timed.p50_ms <= timed.p99_ms
    assert (timed.runtime, timed.rounds) == ("native", latency.ROUNDS)
    asked = messages.Evaluate(request=request(), output_path=trained.output_path)
    assert do(world.model.evaluate(asked)) == found
    gated(monkeypatch, tiny, max_latency_ms=timed.p99_ms)
    assert do(world.model.evaluate(asked)).gates["max_latency_ms"]["got"] == timed.p99_ms
    gated(monkeypatch, tiny, max_latency_ms=timed.p99_ms / 2)
    error = refused(lambda: do(world.model.evaluate(asked)))
    assert isinstance(error, errors.GateFailed) and error.gate == "max_latency_ms"
    assert f"{timed.p99_ms:.3f} ms" in error.message and timed.machine in error.message
    # Started again under its id it is another execution, and is measured anew.
    gated(monkeypatch, tiny, max_latency_ms=None)
    again = in_execution("another-execution", world.model.evaluate, asked)
    assert again.evaluation.latency is not None and again.evaluation.latency != timed


def test_what_needs_a_library_is_asked_in_a_process_of_its_own(tmp_path: Path, ray: RayDouble) -> None:
    world = World(tmp_path, ray.url)
    world.prepare(request())
    trained = do(world.model.train(request()))
    output = train_messages.read_output(Path(trained.output_path))
    folder = world.folder(request())
    asked = apart.Question(
        kind=output.kind,
        model=output.architecture,
        weights=output.weights_path,
        plan=folder.plan,
        training_set=folder.kept(projects.TrainingSetReport).path,
    )
    here, there = apart.scores(asked), apart.scores(asked.model_copy(update={"network": "torch"}))
    scored = pl.read_parquet(output.predictions_path).filter(split="test")["score"].to_numpy()
    np.testing.assert_allclose(here, scored, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-5)
    gone = asked.model_copy(update={"network": "torch", "training_set": tmp_path / "other.parquet"})
    pl.DataFrame({"split": ["test"], "x": [1.0]}).write_parquet(gone.training_set)
    with pytest.raises(errors.SchemaMismatch):
        apart.scores(gone)
    gone.training_set.unlink()
    with pytest.raises(errors.JobFailed, match=r"other\.parquet"):
        apart.timed(gone)


def test_a_challenger_is_held_beside_the_champion_on_the_same_rows(
    tmp_path: Path, ray: RayDouble, tiny: tiny_project.Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, ray.url)
    world.prepare(request())
    before, then = world.bundle(request())
    challenger = request(run_id="run_2", seed=6, epochs=1)
    world.prepare(challenger)
    trained, found = world.evaluate(challenger)
    folder = world.folder(challenger)
    scored = pl.read_parquet(train_messages.read_output(Path(trained.output_path)).predictions_path)
    compared = champion.beside(world.settings, before.candidate, folder, scored)
    ours, theirs = found.metrics["test"], then.metrics["test"]
    assert (compared.bundle_digest, compared.rows, compared.note) == (before.candidate, 600, "")
    # One epoch is worse than eight.
    assert compared.auc == pytest.approx(theirs.auc, abs=1e-6)
    assert compared.auc_gain == pytest.approx(ours.auc - theirs.auc, abs=1e-6) and compared.auc_gain < -0.05
    assert compared.auc_gain_low is not None and compared.auc_gain_high is not None
    assert compared.auc_gain_low < compared.auc_gain < compared.auc_gain_high < 0
    assert not list(folder.root.glob("champion-*"))

    asked = messages.Compare(request=challenger, output_path=trained.output_path, champion=before.candidate)
    assert do(world.model.compare(asked)) == messages.Compared(champion=compared)
    gated(monkeypatch, tiny, min_champion_gain=-0.02)
    error = refused(lambda: do(world.model.compare(asked)))
    assert isinstance(error, errors.GateFailed) and error.gate == "min_champion_gain"
    assert f"{theirs.auc:.4f}" in error.message and before.candidate in error.message


def test_a_champion_that_cannot_be_asked_is_told_and_stops_nobody(tmp_path: Path, ray: RayDouble) -> None:
    world = World(tmp_path, ray.url)
    world.prepare(request())
    made, _ = world.bundle(request())
    folder = world.folder(request())
    scored = pl.read_parquet(train_messages.read_output(folder.output("none", 0)).predictions_path)
    rows = folder.kept(projects.TrainingSetReport)
    pl.read_parquet(rows.path).drop("y").write_parquet(rows.path)
    other = champion.beside(world.settings, made.candidate, folder, scored)
    assert other.auc_gain is None and "no column `y`" in other.note
    world.settings.serving.trusted_keys_dir.rename(tmp_path / "elsewhere")
    world.settings.serving.trusted_keys_dir.mkdir()
    distrusted = champion.beside(world.settings, made.candidate, folder, scored)
    assert distrusted.auc_gain is None and "sign" in distrusted.note
    gone = champion.beside(world.settings, "sha256:" + "0" * 64, folder, scored)
    assert gone.auc_gain is None and "sha256:" + "0" * 64 in gone.note
