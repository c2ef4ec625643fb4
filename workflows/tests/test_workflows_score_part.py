"""One worker of the scoring job, without Ray: parts that are scored, and every reason why one is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import score_world
import tiny_project

from mainspring.core import errors, projects
from mainspring.core.contracts import scoring
from mainspring.core.features import frames
from mainspring.core.models import bundle, runtimes, signing
from mainspring.core.scoring import outputs, places
from mainspring.workflows.ray_jobs import job_files, score_messages, score_part


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> score_world.World:
    return score_world.World.make(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projects, "BUILT_IN", {"tiny": "tiny_project:PROJECT"})


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Of the test's own folders."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name)


def test_a_part_is_scored_as_the_training_set_would_be(world: score_world.World, name: str) -> None:
    spec = world.spec(world.dataset(), name, part_rows=700)
    worker = score_part.PartScorer(spec)
    answers = [worker({"index": i}) for i in range(len(spec.parts))]
    assert [a["name"] for a in answers] == [p.name for p in spec.survey()]
    # What loading took is in the first answer only.
    assert answers[0]["cpu_seconds"] > answers[1]["cpu_seconds"] > 0
    found = pl.concat(pl.read_parquet(Path(spec.output) / a["name"]) for a in answers)
    assert found["row"].to_list() == list(range(3000))
    joined = pl.read_parquet(world.directory / "training" / "training.parquet")
    compiled = world.fitted.compile()
    opened = bundle.BundleStore(spec.bundle_dir).open(
        world.digest, signing.TrustedKeys.load(spec.trusted_keys_dir)
    )
    runtime = runtimes.factories(runtimes.Options())["embedding_mlp"](opened, compiled)
    wanted = runtime.predict(compiled.run(frames.to_numpy(joined, compiled.inputs)))
    assert runtime.name == "native"
    # To the bit, although these were cut otherwise.
    assert found["score"].to_list() == wanted.tolist()
    assert found["score"].n_unique() > 1000


def test_torch_scores_where_serving_would(world: score_world.World, name: str) -> None:
    dataset, scores = world.dataset(), []
    for runtime in ("native", "torch"):
        spec = world.spec(dataset, f"{name}-{runtime}", runtime=runtime)
        answer = score_part.PartScorer(spec)({"index": 0})
        scores.append(pl.read_parquet(Path(spec.output) / answer["name"])["score"].to_numpy())
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5, atol=1e-6)
    assert (scores[0] != scores[1]).any()


def test_the_same_part_again_is_the_same(world: score_world.World, name: str) -> None:
    spec = world.spec(world.dataset(), name)
    score_part.PartScorer(spec)({"index": 2})
    output = outputs.Output(places.Place.at(spec.output), spec.identity)
    first = output.done()
    score_part.PartScorer(spec)({"index": 2})
    again = output.done()
    assert {n: r.scores for n, r in first.items()} == {n: r.scores for n, r in again.items()}
    assert list(again) == ["part-000002.parquet"]


def error_of(spec: score_messages.ScoreSpec, index: int = 0) -> errors.MainspringError:
    answer = score_part.PartScorer(spec)({"index": index})
    json.dumps(answer)
    return errors.from_wire(answer["error"])


def test_a_bad_row_names_its_part(world: score_world.World, name: str) -> None:
    bad = world.dataset(
        f"{name}-in",
        x=pl.when(pl.int_range(pl.len()) == 700).then(float("inf")).otherwise("x").cast(pl.Float32),
    )
    spec = world.spec(bad, name, part_rows=500)
    assert "error" not in score_part.PartScorer(spec)({"index": 0})
    error = error_of(spec, 1)
    assert isinstance(error, errors.DataInvalid)
    assert error.message.startswith("rows 500 to 999 of `000.parquet`: `x[200]` is infinite; send a number")
    assert error.failed == ("x[200]",)


def test_a_bundle_that_is_not_trusted_scores_nothing(
    world: score_world.World, name: str, tmp_path: Path
) -> None:
    spec = world.spec(world.dataset(), name, trusted_keys_dir=tmp_path / "nobody")
    error = error_of(spec)
    assert isinstance(error, errors.PolicyDenied)
    assert not Path(spec.output).exists()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"bundle_digest": "sha256:" + "0" * 64}, errors.NotFound, "no bundle"),
        ({"project": "tinny"}, errors.NotFound, "did you mean `tiny`"),
        ({"views": {}}, errors.NotFound, "view `carrier_stats`"),
    ],
)
def test_what_cannot_be_loaded_is_an_answer(
    world: score_world.World,
    name: str,
    change: dict[str, Any],
    error: type[errors.MainspringError],
    words: str,
) -> None:
    found = error_of(world.spec(world.dataset(), name, **change))
    assert isinstance(found, error) and words in found.message


def test_a_projects_own_mistake_is_an_answer_too(
    world: score_world.World, name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def derive(columns: Any) -> dict[str, Any]:
        return {"gate": columns["gate"]}

    spec = world.spec(world.dataset(), name)
    monkeypatch.setattr(tiny_project.PROJECT, "derive", derive)
    error = error_of(spec, 1)
    assert isinstance(error, errors.InvariantViolated)
    assert error.message.startswith(
        "rows 500 to 999 of `000.parquet`: a worker crashed with KeyError: 'gate'"
    )
    assert 'return {"gate": columns["gate"]}' in capfd.readouterr().err
    monkeypatch.setattr(projects, "load_project", lambda _: 1 / 0)
    assert "ZeroDivisionError" in error_of(spec).message


def test_features_that_were_made_anew_are_refused(
    world: score_world.World, name: str, tmp_path: Path
) -> None:
    view = tmp_path / "view.parquet"
    pl.read_parquet(world.features / "carrier_stats.parquet").with_columns(
        late_share=pl.lit(0.5, pl.Float32)
    ).write_parquet(view)
    pinned = world.spec(world.dataset(), name).views["carrier_stats"]
    spec = world.spec(world.dataset(), name, views={"carrier_stats": {"path": view, "digest": pinned.digest}})
    assert isinstance(error_of(spec), errors.Conflict)
    gone = {"carrier_stats": {"path": tmp_path / "gone.parquet", "digest": pinned.digest}}
    assert isinstance(error_of(world.spec(world.dataset(), name, views=gone)), errors.NotFound)


def test_messages_come_back_as_they_went(world: score_world.World, name: str, tmp_path: Path) -> None:
    spec = world.spec(world.dataset(), name)
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    assert score_messages.read_spec(tmp_path / "spec.json") == spec
    with pytest.raises(errors.NotFound, match="does not exist"):
        score_messages.read_spec(tmp_path / "none.json")
    (tmp_path / "spec.json").write_text(spec.model_dump_json().replace('"num_workers":2', '"num_workers":0'))
    with pytest.raises(errors.InvalidRequest, match="num_workers"):
        score_messages.read_spec(tmp_path / "spec.json")
    answer = score_messages.ScoreOutput(
        rows=3, parts=2, parts_found=1, cpu_seconds=1.5, wall_seconds=2.0, num_workers=2
    )
    job_files.write_output(tmp_path / "out.json", answer)
    assert score_messages.read_output(tmp_path / "out.json") == answer
    job_files.write_output(tmp_path / "out.json", errors.DataInvalid("no", dataset="d", failed=("x",)))
    with pytest.raises(errors.DataInvalid, match="no"):
        score_messages.read_output(tmp_path / "out.json")
    (tmp_path / "out.json").write_text("{")
    with pytest.raises(errors.CorruptArtifact):
        score_messages.read_output(tmp_path / "out.json")
    with pytest.raises(errors.NotFound, match="submit it again"):
        score_messages.read_output(tmp_path / "none.json")


def test_progress_counts_parts_and_rows(world: score_world.World, name: str) -> None:
    spec = world.spec(world.dataset(), name, part_rows=1000)
    assert score_messages.read_progress(spec.progress) is None
    score_messages.write_progress(spec.progress, spec.survey(), {"part-000001.parquet"})
    assert score_messages.read_progress(spec.progress) == scoring.ScoreProgress(
        parts=3, parts_done=1, rows=3000, rows_done=1000
    )
    spec.progress.write_text("{")
    assert score_messages.read_progress(spec.progress) is None


def test_the_project_of_these_tests_is_the_one_of_the_bundle() -> None:
    assert projects.load_project("tiny") is tiny_project.PROJECT
