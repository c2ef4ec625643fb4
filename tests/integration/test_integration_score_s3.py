"""A dataset in an object store is scored into it: parts, resumption, the manifest, and a store that says no."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import integration_object_store
import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "workflows" / "tests"))

import score_world

from mainspring.core import errors, projects
from mainspring.core.scoring import outputs, parts, places
from mainspring.workflows.ray_jobs import score_messages, score_part

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[integration_object_store.ObjectStore]:
    with integration_object_store.started(tmp_path_factory.mktemp("store")) as found:
        yield found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> score_world.World:
    return score_world.World.make(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials as a worker has them, and the project of the bundle."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "owner")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "owner-secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(projects, "BUILT_IN", {"tiny": "tiny_project:PROJECT"})


def uri(store: integration_object_store.ObjectStore, key: str) -> str:
    host = store.endpoint.removeprefix("http://")
    return (
        f"s3://{integration_object_store.BUCKET}/{key}?endpoint_override={host}&scheme=http&region=us-east-1"
    )


def upload(store: integration_object_store.ObjectStore, world: score_world.World, prefix: str) -> None:
    for path in sorted(world.dataset(files=3).iterdir()):
        store.put(f"{prefix}/{path.name}", path.read_bytes())
    store.put(f"{prefix}/_SUCCESS.parquet", b"no data")


def spec_of(
    store: integration_object_store.ObjectStore, world: score_world.World, source: str, target: str
) -> score_messages.ScoreSpec:
    survey = parts.survey(places.Place.at(uri(store, source)), 400)
    local = world.spec(world.dataset(files=3))
    return local.model_copy(
        update={
            "input": uri(store, source),
            "output": uri(store, target),
            "parts": score_messages.ScoreSpec.of(survey),
        }
    )


def test_scores_in_a_store_are_the_scores_on_a_disk(
    store: integration_object_store.ObjectStore, world: score_world.World
) -> None:
    upload(store, world, "in")
    spec = spec_of(store, world, "in", "out/one")
    assert sum(part.rows for part in spec.parts) == 3000
    output = outputs.Output(places.Place.at(spec.output), spec.identity)
    output.claim({"bundle": spec.bundle_digest})
    half = score_part.PartScorer(spec)
    for index in range(4):
        assert "error" not in half({"index": index})
    # Another worker, later: what is there is seen, and only the rest is scored.
    done = output.done()
    assert sorted(done) == [f"part-{i:06d}.parquet" for i in range(4)]
    rest = score_part.PartScorer(spec)
    for part in spec.survey():
        if part.name not in done:
            assert "error" not in rest({"index": part.index})
    manifest = output.finish(parts.Survey(spec.survey(), {}, ""), {})
    rows = pl.concat(pl.read_parquet(io.BytesIO(output.place.read(r.name))) for r in manifest.parts)
    assert rows["row"].to_list() == list(range(3000))

    local = world.spec(world.dataset(files=3), "disk", part_rows=400)
    worker = score_part.PartScorer(local)
    for index in range(len(local.parts)):
        assert "error" not in worker({"index": index})
    on_disk = outputs.Output(places.Place.at(local.output), local.identity)
    assert on_disk.finish(parts.Survey(local.survey(), {}, ""), {}).scores_digest == manifest.scores_digest
    # The folder is this scoring's.
    with pytest.raises(errors.Conflict, match="of another scoring"):
        outputs.Output(output.place, "sha256:other").claim({})


def test_an_object_that_was_replaced_is_noticed(
    store: integration_object_store.ObjectStore, world: score_world.World
) -> None:
    upload(store, world, "changing")
    spec = spec_of(store, world, "changing", "out/two")
    store.put("changing/000.parquet", (world.dataset(files=3) / "001.parquet").read_bytes() + b" ")
    answer = score_part.PartScorer(spec)({"index": 0})
    assert isinstance(errors.from_wire(answer["error"]), errors.Conflict)
    store.delete("changing/000.parquet")
    answer = score_part.PartScorer(spec)({"index": 0})
    assert "is gone" in answer["error"]["message"]


def test_what_a_store_refuses_is_told(
    store: integration_object_store.ObjectStore, world: score_world.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(store, world, "private")
    with pytest.raises(errors.NotFound, match="no Parquet at"):
        places.Place.at(uri(store, "nothing-here")).parquet()
    assert places.Place.at(uri(store, "nothing-here")).names() == []
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "other")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other-secret")
    for refused in (
        lambda: places.Place.at(uri(store, "private")).parquet(),
        lambda: places.Place.at(uri(store, "private")).put("x", b"1"),
    ):
        with pytest.raises(errors.DependencyDown, match="check the disk or store and its credentials"):
            refused()
    gone = integration_object_store.ObjectStore("http://127.0.0.1:9")
    with pytest.raises(errors.DependencyDown, match="check the disk or store"):
        places.Place.at(uri(gone, "private")).parquet()
