"""A project's own training as its job does it: an answer in the form of every training, or a typed error."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import tiny_project
from own_project import Own

from mainspring.core import errors, projects
from mainspring.core.contracts import tuning
from mainspring.workflows.ray_jobs import own_training, train_messages
from mainspring.workflows.tuning import activities


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Own:
    project = Own(rows=600)
    monkeypatch.setattr(tiny_project, "PROJECT", project)
    monkeypatch.setattr(projects, "BUILT_IN", {"tiny": "tiny_project:PROJECT"})
    return project


def spec(project: tiny_project.Tiny, folder: Path) -> train_messages.TrainSpec:
    project.ingest(folder / "lake")
    project.build_features(folder / "lake", folder / "features")
    made = project.training_set(folder / "features", folder / "training")
    fitted = project.declare_plan().fit(pl.scan_parquet(made.path).filter(pl.col("split") == "train"))
    (folder / "plan.json").write_bytes(fitted.to_bytes())
    return train_messages.TrainSpec(
        training_set=made.path,
        plan=folder / "plan.json",
        label=made.label,
        model_spec=project.model_spec(),
        num_workers=1,
        seed=7,
        run_name="one",
        storage_path=folder / "storage",
        out_dir=folder / "out",
        project="tiny",
    )


def test_it_answers_as_every_training(own: Own, tmp_path: Path) -> None:
    asked = spec(own, tmp_path)
    answer = train_messages.TrainOutput(**own_training.work(asked), wall_seconds=1.0)
    assert (answer.kind, answer.baseline_kind, answer.best_epoch, answer.num_workers) == (
        "embedding_mlp",
        "embedding_mlp",
        0,
        1,
    )
    assert (
        answer.cpu_seconds > 0
        and answer.weights_path.read_bytes() != answer.baseline_weights_path.read_bytes()
    )
    scored = pl.read_parquet(answer.predictions_path)
    assert scored.columns == ["split", "label", "score", "baseline_score"]
    assert scored["split"].value_counts().sort("split")["count"].to_list() == [120, 120]


def test_what_goes_wrong_is_an_answer(own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = spec(own, tmp_path)

    def error(of: train_messages.TrainSpec) -> errors.MainspringError:
        return errors.from_wire(own_training.work(of)["error"])

    own.problem = KeyError("colour")
    failed = error(asked)
    assert (
        isinstance(failed, errors.JobFailed) and "failed with KeyError: 'colour'; mend it" in failed.message
    )
    assert not failed.retryable and not (tmp_path / "out").exists()
    gone = error(asked.model_copy(update={"plan": tmp_path / "none.json"}))
    assert isinstance(gone, errors.NotFound) and "cannot be read" in gone.message
    monkeypatch.setattr(tiny_project, "PROJECT", tiny_project.Tiny())
    other = error(asked)
    assert isinstance(other, errors.Conflict) and "no `train` of its own here" in other.message


def test_a_study_of_such_a_project_is_refused(own: Own) -> None:
    made = activities.TuningActivities.__new__(activities.TuningActivities)
    asked = tuning.TuneRequest.model_construct(project="tiny")
    with pytest.raises(errors.InvalidRequest, match="trains its model itself"):
        made._spec(asked, None)  # type: ignore[arg-type]
