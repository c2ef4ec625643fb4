"""Rows outside of the state directory: outputs of batch scoring, and folders that an operator declares."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from mainspring.core import errors, settings
from mainspring.core.erasure import erasing, outside
from mainspring.core.erasure.matching import BySubject
from mainspring.core.erasure.subjects import Subject
from mainspring.core.scoring import outputs

SUBJECT = BySubject(Subject("tiny", "tailnum", "N102"))
ROWS = pl.DataFrame({"tailnum": ["N101", "N102"], "score": [0.1, 0.2]})


def scored(folder: Path, project: str = "tiny") -> Path:
    folder.mkdir(parents=True)
    (folder / outputs.CLAIM).write_text(json.dumps({"identity": "i", "detail": {"project": project}}))
    ROWS.write_parquet(folder / "part-000000.parquet")
    return folder


def in_force(folder: Path, declared: str = "") -> settings.Settings:
    env = {
        "MAINSPRING_STACK_STATE_DIR": str(folder / "state"),
        "MAINSPRING_PROTECTION_ERASURE_PLACES": declared,
    }
    return settings.load({k: v for k, v in env.items() if v}, directory=folder)


def test_scores_of_the_project_go_and_what_is_others_stays(tmp_path: Path) -> None:
    mine, theirs = scored(tmp_path / "mine"), scored(tmp_path / "theirs", "other")
    refused = tmp_path / "refused"
    refused.mkdir()
    ROWS.write_parquet(refused / "somebodys.parquet")
    told = [str(p) for p in (mine, theirs, refused, tmp_path / "gone", "no/place")]
    places = erasing.outside_places(in_force(tmp_path), "tiny", told)
    found = [place.find(SUBJECT) for place in places]
    assert [(f.place, f.rows, f.uncovered) for f in found] == [
        ("batch scores", 1, []),
        ("batch scores in object stores", 0, []),
        ("declared folders", 0, []),
        ("declared places in object stores", 0, []),
        ("online stores of Feast", 0, []),
    ]
    assert sum(erasing.erase(place, SUBJECT).rows for place in places) == 1
    assert pl.read_parquet(mine / "part-000000.parquet")["tailnum"].to_list() == ["N101"]
    for path in (theirs / "part-000000.parquet", refused / "somebodys.parquet"):
        assert pl.read_parquet(path).equals(ROWS), "a scoring that was refused there did not make it its own"
    (mine / outputs.CLAIM).write_text("{}")
    with pytest.raises(errors.CorruptArtifact, match="scoring.json"):
        places[0].find(SUBJECT)


def test_what_an_operator_declares_is_searched_and_what_is_not_there_is_told(tmp_path: Path) -> None:
    folder, one = tmp_path / "lake", tmp_path / "one.parquet"
    folder.mkdir()
    ROWS.write_parquet(folder / "a.parquet")
    ROWS.write_parquet(one)
    ROWS.write_csv(folder / "a.csv")
    declared = f"tiny={folder},other={tmp_path},tiny={one},tiny={tmp_path / 'mistyped'}"
    places = erasing.outside_places(in_force(tmp_path, declared), "tiny", [])
    found = places[2].find(SUBJECT)
    assert (found.rows, found.items) == (2, 2)
    assert ["a.csv" in u.what or "mistyped" in u.what for u in found.uncovered] == [True, True]
    assert erasing.erase(places[2], SUBJECT).rows == 2
    assert pl.read_parquet(one)["tailnum"].to_list() == ["N101"]
    assert erasing.outside_places(in_force(tmp_path, declared), "nobody", [])[2].find(SUBJECT).rows == 0


def test_inputs_that_nobody_declared_are_told_without_credentials(tmp_path: Path) -> None:
    s = in_force(tmp_path, "tiny=s3://lake/declared/?region=x")
    own = tmp_path / "state" / "projects" / "tiny" / "full" / "rows.parquet"
    inputs = [
        str(own),
        "s3://lake/declared/in",
        "s3://lake/declared",
        "s3://lake/declared2",
        "s3://key:secret@lake/other?x=1",
        "/data/in",
    ]
    told = [u.what for u in erasing.not_covered(s, "tiny", inputs)]
    assert told == [
        "input of batch scoring `/data/in`",
        "input of batch scoring `s3://lake/declared2`",
        "input of batch scoring `s3://lake/other`",
    ]
    assert outside.shown("s3://key:secret@lake/a/b?endpoint_override=h") == "s3://lake/a/b"


@pytest.mark.parametrize("declared", ["lake", "tiny=relative/path", "Tiny=/a", "tiny=/a,,", "tiny=http://x"])
def test_what_is_no_place_is_refused_at_the_start(tmp_path: Path, declared: str) -> None:
    with pytest.raises(errors.InvalidSettings, match=r"protection\.erasure_places"):
        in_force(tmp_path, declared)
