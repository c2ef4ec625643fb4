"""Online rows of a declared Feast repository: gone from the file and from processes that have it open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mainspring.core import errors
from mainspring.core.erasure import erasing
from mainspring.core.erasure.feast_online import FeastOnline
from mainspring.core.erasure.matching import BySubject
from mainspring.core.erasure.subjects import Subject
from mainspring.core.features import feast_adapter as adapter

# isort: split

from feast import Entity, FeatureStore, FeatureView, FileSource, ValueType

pytestmark = pytest.mark.filterwarnings("ignore")  # Feast's own

TYPE = "mainspring.core.features.feast_store.MainspringOnlineStore"
SUBJECT = BySubject(Subject("tiny", "tailnum", "N102", frozenset({"aircraft"})))
NOW = datetime.now(UTC)


def repository(
    folder: Path, online: str = f"{{type: {TYPE}, path: data/online.db, refresh_seconds: 0}}"
) -> Path:
    folder.mkdir()
    (folder / "feature_store.yaml").write_text(
        f"project: tiny\nprovider: local\nregistry: {{registry_type: sql, path: 'sqlite:///{folder}/registry.db'}}\n"
        f"offline_store: {{type: {TYPE.replace('Online', 'Offline')}}}\nonline_store: {online}\n"
        "entity_key_serialization_version: 3\n"
    )
    return folder


def defined(folder: Path) -> FeatureStore:
    store = FeatureStore(repo_path=str(folder))
    plane = Entity(name="plane", join_keys=["tailnum"], value_type=ValueType.STRING)
    origin = Entity(name="origin", join_keys=["origin"], value_type=ValueType.STRING)
    source = FileSource(name="s", path="s.parquet", timestamp_field="event_timestamp")
    key = adapter.field("tailnum", "string")
    seats = adapter.field("seats", "int64")
    store.apply(
        [
            plane, origin,
            FeatureView(name="planes", entities=[plane], ttl=timedelta(0), source=source, schema=[key, seats]),
            FeatureView(
                name="pairs", entities=[plane, origin], ttl=timedelta(0), source=source,
                schema=[key, adapter.field("origin", "string"), seats],
            ),
        ]
    )  # fmt: skip
    return store


def write(store: FeatureStore, view: str, **columns: Any) -> None:
    frame = pd.DataFrame(columns)
    store.write_to_online_store(view, frame.assign(event_timestamp=NOW, seats=range(len(frame))))


def seats(store: FeatureStore, *tails: str) -> list[Any]:
    found = store.get_online_features(["planes:seats"], [{"tailnum": t} for t in tails]).to_dict()
    answer: list[Any] = found["seats"]
    return answer


def test_rows_of_one_key_go_from_every_view_and_from_the_disk(tmp_path: Path) -> None:
    folder = repository(tmp_path / "repo")
    store = defined(folder)
    for _ in range(2):
        write(store, "planes", tailnum=["N101", "N102"])
    write(store, "pairs", tailnum=["N101", "N102", "N102"], origin=["JFK", "JFK", "EWR"])
    assert seats(store, "N101", "N102") == [0, 1]
    place = FeastOnline([str(folder), "s3://bucket/repo", str(tmp_path)])
    found = place.find(SUBJECT)
    assert (found.rows, found.items, found.uncovered) == (4, 2, []), "every batch of before counts"
    assert erasing.erase(place, SUBJECT).rows == 4
    assert seats(store, "N101", "N102") == [0, None], "and whoever has it open sees that"
    on_disk = b"".join(p.read_bytes() for p in (folder / "data").iterdir())
    assert b"N102" not in on_disk and b"N101" in on_disk
    write(store, "planes", tailnum=["N103"])
    assert seats(FeatureStore(repo_path=str(folder)), "N101", "N102", "N103") == [0, None, 0]


def test_a_view_of_one_row_is_empty_afterwards_and_takes_rows_again(tmp_path: Path) -> None:
    folder = repository(tmp_path / "repo")
    store = defined(folder)
    place = FeastOnline([str(folder)])
    assert erasing.erase(place, SUBJECT).rows == 0, "nothing was written"
    write(store, "planes", tailnum=["N102"])
    assert erasing.erase(place, SUBJECT).rows == 1
    write(store, "planes", tailnum=["N101"])
    assert seats(store, "N101", "N102") == [0, None]


@pytest.mark.parametrize(
    ("online", "why"),
    [
        ("{type: sqlite, path: data/online.db}", "online store is `sqlite`, and Feast has no call that deletes a key"),
        (f"{{type: {TYPE}}}", "in the memory of whoever has it open"),
    ],
)  # fmt: skip
def test_a_store_that_cannot_forget_is_told(tmp_path: Path, online: str, why: str) -> None:
    folder = repository(tmp_path / "repo", online)
    place = FeastOnline([str(folder)])
    (told,) = place.find(SUBJECT).uncovered
    assert why in told.why and str(folder) in told.what
    assert place.erase(SUBJECT).rows == 0


def test_what_is_no_repository_is_an_error_and_a_damaged_file_as_well(tmp_path: Path) -> None:
    folder = tmp_path / "repo"
    folder.mkdir()
    (folder / "feature_store.yaml").write_text("project: [")
    with pytest.raises(errors.Misconfigured, match="no repository that Feast opens"):
        FeastOnline([str(folder)]).find(SUBJECT)
    good = repository(tmp_path / "good")
    write(defined(good), "planes", tailnum=["N102"])
    for path in (good / "data").iterdir():
        path.write_bytes(b"torn" * 1024)
    with pytest.raises(errors.CorruptArtifact):
        FeastOnline([str(good)]).find(SUBJECT)
