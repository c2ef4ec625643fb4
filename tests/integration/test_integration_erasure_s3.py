"""A subject's rows go from an object store: scores and declared lakes, through a store that says no in the middle."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import integration_object_store
import polars as pl
import pytest

from mainspring.core import errors, settings
from mainspring.core.erasure import erasing
from mainspring.core.erasure.matching import BySubject
from mainspring.core.erasure.outside import Stores
from mainspring.core.erasure.subjects import Subject
from mainspring.core.scoring import outputs, places

pytestmark = [pytest.mark.integration]

SUBJECT = BySubject(Subject("tiny", "tailnum", "N102"))
ROWS = pl.DataFrame({"tailnum": ["N101", "N102", "N103"], "score": [0.1, 0.2, 0.3]})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[integration_object_store.ObjectStore]:
    with integration_object_store.started(tmp_path_factory.mktemp("store")) as found:
        yield found


@pytest.fixture(autouse=True)
def owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials as a worker has them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "owner")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "owner-secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def uri(store: integration_object_store.ObjectStore, key: str) -> str:
    host = store.endpoint.removeprefix("http://")
    return (
        f"s3://{integration_object_store.BUCKET}/{key}?endpoint_override={host}&scheme=http&region=us-east-1"
    )


def rows(place: places.Place, path: str = "") -> list[str]:
    return pl.read_parquet(io.BytesIO(place.read(path)))["tailnum"].to_list()


def lines(tails: list[str]) -> bytes:
    return b"".join(json.dumps({"keys": {"tailnum": tail}}).encode() + b"\n" for tail in tails)


def test_scores_and_declared_objects_go_and_what_is_others_stays(
    store: integration_object_store.ObjectStore, tmp_path: Path
) -> None:
    for key, project in (("scores", "tiny"), ("theirs", "other")):
        store.put(f"{key}/{outputs.CLAIM}", json.dumps({"detail": {"project": project}}).encode())
        store.put(f"{key}/part-000000.parquet", ROWS)
    store.put("refused/somebodys.parquet", ROWS)
    store.put("data/month=1/a.parquet", ROWS)
    store.put("data/log/b.jsonl", lines(["N101", "N102"]))
    store.put("data/c.zip", b"PK")
    store.put("database/a.parquet", ROWS)
    store.put("one.parquet", ROWS)
    declared = ",".join(f"tiny={uri(store, key)}" for key in ("data", "one.parquet", "mistyped"))
    s = settings.load({"MAINSPRING_PROTECTION_ERASURE_PLACES": declared}, directory=tmp_path)
    scored = [uri(store, key) for key in ("scores", "theirs", "refused", "gone")]
    of_scores, declared_place = (
        p for p in erasing.outside_places(s, "tiny", scored) if isinstance(p, Stores)
    )
    before = [of_scores.find(SUBJECT), declared_place.find(SUBJECT)]
    assert [(f.rows, f.items) for f in before] == [(1, 1), (3, 3)]
    told = [u.what for u in before[1].uncovered]
    assert len(told) == 3 and "s3://lake/data: 1 of a form that nobody can search, such as `c.zip`" in told[0]
    assert "`s3://lake/mistyped`" in told[1] and "versions of objects in bucket `lake`" in told[2]
    assert [erasing.erase(p, SUBJECT).rows for p in (of_scores, declared_place)] == [1, 3]
    proven, uncovered = erasing.prove([of_scores, declared_place], SUBJECT, before)
    assert [(p.rows_before, p.rows_after) for p in proven] == [(1, 0), (3, 0)] and len(uncovered) == 4
    at = places.Place.at(uri(store, "data"))
    assert rows(at, "month=1/a.parquet") == ["N101", "N103"] and at.read("log/b.jsonl") == lines(["N101"])
    assert rows(places.Place.at(uri(store, "one.parquet"))) == ["N101", "N103"]
    for key in ("theirs/part-000000.parquet", "refused/somebodys.parquet", "database/a.parquet"):
        assert "N102" in rows(places.Place.at(uri(store, key)))


def test_a_store_that_fails_half_way_loses_nothing_and_the_next_attempt_ends_it(
    store: integration_object_store.ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        store.put(f"half/{i}.parquet", ROWS)
    place, real, calls = Stores("declared", [uri(store, "half")]), places.Place.put, 0

    def put(self: places.Place, path: str, data: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise errors.DependencyDown("the store is away", name="store")
        real(self, path, data)

    monkeypatch.setattr(places.Place, "put", put)
    with pytest.raises(errors.DependencyDown):
        place.erase(SUBJECT)
    at = places.Place.at(uri(store, "half"))
    assert [len(rows(at, f"{i}.parquet")) for i in range(3)] == [2, 3, 3]
    assert erasing.erase(place, SUBJECT).rows == 2
    assert [rows(at, f"{i}.parquet") for i in range(3)] == [["N101", "N103"]] * 3


def test_an_object_that_came_meanwhile_is_not_overwritten(
    store: integration_object_store.ObjectStore,
) -> None:
    store.put("moved/a.parquet", ROWS)
    at = places.Place.at(uri(store, "moved"))
    (found,) = at.files()
    store.put("moved/a.parquet", pl.concat([ROWS, ROWS]))
    with pytest.raises(errors.Conflict, match="was replaced while it was read"):
        at.replace(found, b"old")
    assert len(rows(at, "a.parquet")) == 6


def test_a_store_that_is_away_or_refuses_is_not_empty(
    store: integration_object_store.ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("torn/a.parquet", b"PAR1 torn")
    with pytest.raises(errors.CorruptArtifact, match=r"`s3://lake/torn/a.parquet` cannot be read"):
        Stores("declared", [uri(store, "torn")]).find(SUBJECT)
    gone = integration_object_store.ObjectStore("http://127.0.0.1:9")
    with pytest.raises(errors.DependencyDown):
        Stores("declared", [uri(gone, "data")]).find(SUBJECT)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "other")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other-secret")
    with pytest.raises(errors.DependencyDown, match="its credentials"):
        Stores("declared", [uri(store, "torn")]).find(SUBJECT)
