"""Each template on small real data: made, installed, trained, signed, registered, served, and right in what it answers."""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import templates_world as world

from mainspring.core import errors, projects
from mainspring.core.features import online
from mainspring.core.reference.flight_delay import source as flights

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(200),
    # MLflow's migrations and store use old forms of alembic and SQLAlchemy.
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> world.Platform:
    return world.Platform(tmp_path_factory.mktemp("platform"))


@pytest.fixture(scope="module")
def a_year() -> Iterator[None]:
    """The flights of the year, read once for all templates that have them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flights, "read", functools.cache(flights.read))
        yield


def offline(made: world.Made, n: int) -> pl.DataFrame:
    """The predictions of the rows that a replay of `n` asks, as the training scored them."""
    test = made.predictions.filter(pl.col("split") == "test")
    rows = pl.read_parquet(made.folder.space.training / "training.parquet").filter(pl.col("split") == "test")
    order = rows.with_columns(score=test["score"]).sort("as_of", maintain_order=True)
    return order[[order.height * i // n for i in range(n)]]


def check_served(platform: world.Platform, made: world.Made, n: int) -> None:
    """A signed bundle, a registered version, and online what was scored offline."""
    with platform.served(made) as client:
        answers = world.replayed(client, made, n)
    wanted = offline(made, n)
    np.testing.assert_allclose([score for score, _ in answers], wanted["score"], rtol=1e-5, atol=1e-6)
    assert [label for _, label in answers] == wanted[made.project.label].to_list()
    assert len({round(score, 3) for score, _ in answers}) > 2
    found = platform.registered(made).find(made.project.name, made.bundles.candidate)
    assert found is not None and found.version == made.version


def test_flights_that_come_late(platform: world.Platform, a_year: None, tmp_path: Path) -> None:
    world.new(tmp_path / "late", "late-flights", "--template", "classification", "--set", "hidden=64")
    with world.installed(tmp_path / "late", "late-flights") as project:
        made = platform.train(project, 0.05)
        # Listed are 0.753 of all flights; a twentieth of them is a twentieth of their history.
        assert made.metrics["test"].auc > max(0.66, made.metrics["test/logistic_regression"].auc)
        assert platform.opened(made).manifest.kind == "embedding_mlp"
        check_served(platform, made, 40)


def test_texts_that_please(platform: world.Platform, tmp_path: Path) -> None:
    """Texts of the machine in the place of reviews, which are fetched: is a paragraph Python's own, or numpy's?"""
    world.new(
        tmp_path / "texts", "own-texts", "--template", "text", "--set", "bucket_bits=14", "--set", "terms=64"
    )
    with world.installed(tmp_path / "texts", "own-texts") as project:
        with pytest.raises(errors.MissingTool, match=r"run `python -m own_texts.data`"):
            project.ingest(tmp_path / "lake")
        (tmp_path / "texts" / "data").mkdir()
        world.paragraphs(600).write_parquet(tmp_path / "texts" / "data" / "texts.parquet")
        made = platform.train(project, 0.99)
        assert made.metrics["test"].auc > 0.85
        manifest = platform.opened(made).manifest
        assert manifest.kind == "torch_export" and manifest.request_columns[0].name == "text"
        check_served(platform, made, 30)


def test_reviews_that_please(platform: world.Platform, tmp_path: Path) -> None:
    """Half of the real ones, fetched as the project's README says; `tools/isolated.sh` has no registry, so CI runs it by itself.

    0.822 of the 1,000 that are held back; listed are 0.877, which all reviews and all terms reach (`bench/templates/results`).
    """
    smaller = ("--set", "bucket_bits=14", "--set", "terms=128")
    world.new(tmp_path / "texts", "own-reviews", "--template", "text", *smaller)
    done = subprocess.run(
        [sys.executable, "-m", "own_reviews.data"],
        cwd=tmp_path / "texts",
        capture_output=True,
        text=True,
        check=False,
    )
    if "could not be fetched" in done.stderr:
        pytest.skip(f"there is no package registry: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    with world.installed(tmp_path / "texts", "own-reviews") as project:
        made = platform.train(project, 0.5)
        assert made.metrics["test"].rows == 1_000
        assert made.metrics["test"].auc > 0.8
        check_served(platform, made, 30)


def test_pictures_of_what_they_claim(platform: world.Platform, tmp_path: Path) -> None:
    folder = tmp_path / "goods"
    world.new(folder, "own-goods", "--template", "vision", "--set", "pictures=digits", "--set", "epochs=5")
    with world.installed(folder, "own-goods") as project:
        made = platform.train(project, 0.99)
        assert made.metrics["test"].auc > made.metrics["test/logistic_regression"].auc > 0.9
        check_served(platform, made, 30)
        rows = pl.read_parquet(made.folder.space.training / "training.parquet").filter(
            pl.col("split") == "test"
        )
        with platform.served(made) as client:
            asked = rows.head(20).drop("category", "shows", "as_of", "matches", "split")
            scores = np.array(
                [
                    [p.score for p in client.predict("own-goods", world.claiming(asked, str(c))).predictions]
                    for c in range(10)
                ]
            )
            nothing = client.predict("own-goods", world.claiming(asked.head(1), "no such thing"))
        np.testing.assert_allclose(scores.sum(axis=0), 1.0, atol=1e-4)
        right = scores.argmax(axis=0) == rows.head(20)["shows"].cast(pl.Int64).to_numpy()
        assert right.mean() >= 0.7 and nothing.predictions[0].score == 0.0


def test_a_month_is_scored_as_its_flights_were_when_they_were_known(
    platform: world.Platform, a_year: None, tmp_path: Path
) -> None:
    world.new(tmp_path / "months", "own-months", "--template", "batch", "--set", "hidden=64")
    with world.installed(tmp_path / "months", "own-months") as project:
        made = platform.train(project, 0.03, epochs=8)
        assert made.metrics["test"].auc > made.metrics["test/logistic_regression"].auc > 0.6
        months = importlib.import_module("own_months.months")
        with pytest.raises(errors.InvalidRequest, match="`2013-13` is no month"):
            months.rows("2013-13")
        with pytest.raises(errors.DataInvalid, match="nobody flew in 2014-02"):
            months.rows("2014-02", sample_fraction=0.03)
        source = months.write("2013-12", tmp_path / "in", sample_fraction=0.03)
        rows = platform.score(made, source, tmp_path / "out")
        assert rows.height > 500 and "late" not in rows.columns
        keys = ["carrier", "flight", "origin", "dest", "as_of"]
        labelled = offline(made, made.predictions.filter(pl.col("split") == "test").height)
        both = rows.join(labelled.select(*keys, offline="score"), on=keys)
        assert both.height > 450
        np.testing.assert_allclose(both["score"], both["offline"], rtol=1e-5, atol=1e-6)
        done = world.local(
            tmp_path / "months" / "monthly.py", tmp_path / "store", f"scores={tmp_path / 'out'}"
        )
        assert done["report"]["state"] == "done"


def test_streams_of_flights_answer_as_the_batch_does(
    platform: world.Platform, a_year: None, tmp_path: Path
) -> None:
    world.new(tmp_path / "now", "own-streams", "--template", "streaming", "--set", "hidden=64")
    with world.installed(tmp_path / "now", "own-streams") as project:
        made = platform.train(project, 0.03, epochs=8)
        assert made.metrics["test"].auc > made.metrics["test/logistic_regression"].auc > 0.6
        assert isinstance(project, projects.Streaming)
        played = project.past_events(made.folder.space.lake)
        assert sum(frame.height for frame in played.values()) > 15_000
        store = online.OnlineStore()
        tables = project.tables(made.folder.space.lake)
        facts = {name: tables[name].rows for name in project.streams()}
        found = importlib.import_module("own_streams.streams").compared(facts, store)
        assert found["different"] == 0 and found["rows"] > 800, found
        assert found["events"] == sum(frame.height for frame in played.values())
        check_served(platform, made, 20)
