"""Datasets as they are cut, and folders of scores as they fill: whole parts, each once, and nobody else's."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from mainspring.core import errors
from mainspring.core.scoring import outputs, parts, places


def write(folder: Path, name: str, values: range, group: int = 100) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = {"key": [f"k{v}" for v in values], "value": list(values)}
    pl.DataFrame(rows, schema={"key": pl.String, "value": pl.Int64}).write_parquet(path, row_group_size=group)


@pytest.fixture
def dataset(tmp_path: Path) -> places.Place:
    """250, 0 and 30 rows in the order of the paths, in row groups of 100."""
    folder = tmp_path / "in"
    write(folder, "b/two.parquet", range(250, 280))
    write(folder, "a.parquet", range(250))
    write(folder, "b/none.parquet", range(0))
    (folder / "_SUCCESS.parquet").write_bytes(b"no data")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "x.parquet").write_bytes(b"no data")
    return places.Place.at(str(folder))


@pytest.mark.parametrize(
    ("part_rows", "expected"),
    [
        (1000, [("a.parquet", 0, 250), ("b/two.parquet", 0, 30)]),
        (200, [("a.parquet", 0, 200), ("a.parquet", 200, 50), ("b/two.parquet", 0, 30)]),
        # Larger than a row group only where the next one fits whole.
        (150, [("a.parquet", 0, 100), ("a.parquet", 100, 150), ("b/two.parquet", 0, 30)]),
        # A larger row group goes in pieces.
        (
            80,
            [
                *(("a.parquet", *r) for r in [(0, 80), (80, 20), (100, 80), (180, 70)]),
                ("b/two.parquet", 0, 30),
            ],
        ),
    ],
)
def test_parts_are_whole_row_groups_where_they_fit(
    dataset: places.Place, part_rows: int, expected: list[tuple[str, int, int]]
) -> None:
    found = parts.survey(dataset, part_rows)
    got = [(p.file.path, p.start, p.rows) for p in found.parts]
    assert got == expected
    assert [p.index for p in found.parts] == list(range(len(got)))
    assert max(p.rows for p in found.parts) <= part_rows
    assert found.rows == 280


@pytest.mark.parametrize("part_rows", [1, 7, 99, 100, 101, 250, 10_000])
def test_all_parts_together_are_the_dataset_in_its_order(dataset: places.Place, part_rows: int) -> None:
    found = parts.survey(dataset, part_rows)
    values = [v for part in found.parts for v in parts.read(dataset, part)["value"].to_list()]
    assert values == list(range(280))
    names = [part.name for part in found.parts]
    assert names == sorted(names) and len(set(names)) == len(names)


def test_one_file_is_a_dataset(tmp_path: Path) -> None:
    write(tmp_path, "one.parquet", range(30))
    place = places.Place.at(str(tmp_path / "one.parquet"))
    found = parts.survey(place, 20)
    assert [(p.file.path, p.start, p.rows) for p in found.parts] == [("", 0, 20), ("", 20, 10)]
    assert parts.read(place, found.parts[1])["value"].to_list() == list(range(20, 30))


def test_the_version_names_the_files(dataset: places.Place, tmp_path: Path) -> None:
    before = parts.survey(dataset, 100).version
    assert parts.survey(dataset, 7).version == before
    write(tmp_path / "in", "b/three.parquet", range(1))
    assert parts.survey(dataset, 100).version != before


def test_a_file_that_changed_since_is_refused(dataset: places.Place, tmp_path: Path) -> None:
    part = parts.survey(dataset, 1000).parts[0]
    path = tmp_path / "in" / "a.parquet"
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1000))
    with pytest.raises(errors.Conflict, match="changed since the scoring was planned"):
        parts.read(dataset, part)
    path.unlink()
    with pytest.raises(errors.Conflict, match="is gone"):
        parts.read(dataset, part)


def test_bad_datasets_are_named(dataset: places.Place, tmp_path: Path) -> None:
    with pytest.raises(errors.NotFound, match="no Parquet at"):
        parts.survey(places.Place.at(str(tmp_path / "nowhere")), 10)
    pl.DataFrame({"key": ["k"], "value": ["text"]}).write_parquet(tmp_path / "in" / "z.parquet")
    with pytest.raises(errors.SchemaMismatch, match=r"z\.parquet.*value"):
        parts.survey(dataset, 10)
    (tmp_path / "in" / "z.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(errors.CorruptArtifact, match=r"z\.parquet` is no complete Parquet"):
        parts.survey(dataset, 10)
    write(tmp_path, "empty/none.parquet", range(0))
    with pytest.raises(errors.DataInvalid, match="1 files and no row"):
        parts.survey(places.Place.at(str(tmp_path / "empty")), 10)


@pytest.mark.parametrize(
    "uri", ["relative/path", "/a/../b", "file:///a", "gs://bucket/x", "https://host/x", ""]
)
def test_a_place_is_absolute_or_s3(uri: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="no place that every worker understands"):
        places.Place.at(uri)


@pytest.fixture
def output(tmp_path: Path) -> outputs.Output:
    made = outputs.Output(places.Place.at(str(tmp_path / "out")), "sha256:one")
    made.claim({"bundle": "b"})
    return made


def score_all(output: outputs.Output, dataset: places.Place, survey: parts.Survey) -> None:
    for part in survey.parts:
        rows = parts.read(dataset, part)
        output.write(part, rows, rows["value"].to_numpy().astype(np.float32) / 2, 0.5)


def test_a_part_has_its_input_and_the_score(dataset: places.Place, output: outputs.Output) -> None:
    survey = parts.survey(dataset, 100)
    score_all(output, dataset, survey)
    manifest = output.finish(survey, {"bundle": "b"})
    assert (manifest.rows, len(manifest.parts), manifest.cpu_seconds) == (280, len(survey.parts), 2.0)
    assert outputs.Manifest.model_validate_json(output.place.read(outputs.MANIFEST)) == manifest
    rows = pl.concat(pl.read_parquet(output.place.read(r.name)) for r in manifest.parts)
    assert rows.columns == ["key", "value", "score"]
    assert rows["value"].to_list() == list(range(280))
    assert rows["score"].to_list() == [v / 2 for v in range(280)]


def test_what_is_done_says_so_and_the_rest_is_missed(dataset: places.Place, output: outputs.Output) -> None:
    survey = parts.survey(dataset, 100)
    assert output.done() == {}
    rows = parts.read(dataset, survey.parts[1])
    receipt = output.write(survey.parts[1], rows, np.zeros(rows.height, np.float32), 0.1)
    assert output.done() == {survey.parts[1].name: receipt}
    with pytest.raises(
        errors.InvariantViolated, match=r"part-000000\.parquet.* has None rows, its input 100"
    ):
        output.finish(survey, {})
    assert outputs.MANIFEST not in output.place.names()


def test_the_scores_digest_is_of_bits_and_order(dataset: places.Place, tmp_path: Path) -> None:
    survey = parts.survey(dataset, 100)
    digests = []
    for name, change in (("a", 0.0), ("b", 0.0), ("c", 1e-7)):
        output = outputs.Output(places.Place.at(str(tmp_path / name)), name)
        for part in survey.parts:
            rows = parts.read(dataset, part)
            scores = np.full(rows.height, 0.5 + change, np.float32)
            output.write(part, rows, scores, 0.0)
        digests.append(output.finish(survey, {}).scores_digest)
    assert digests[0] == digests[1] != digests[2]


def test_a_folder_is_of_one_scoring(output: outputs.Output, dataset: places.Place, tmp_path: Path) -> None:
    output.claim({"bundle": "b"})
    other = outputs.Output(output.place, "sha256:two")
    with pytest.raises(errors.Conflict, match=r"scoring\.json` is of another scoring"):
        other.claim({"bundle": "c"})
    score_all(output, dataset, parts.survey(dataset, 1000))
    with pytest.raises(errors.Conflict, match=r"part-000000\.parquet` is of another scoring"):
        other.done()
    used = tmp_path / "used"
    used.mkdir()
    (used / "notes.txt").write_text("mine")
    with pytest.raises(errors.Conflict, match=r"has files already, such as `notes\.txt`"):
        outputs.Output(places.Place.at(str(used)), "sha256:one").claim({})


def test_foreign_and_damaged_parts_are_refused(output: outputs.Output, dataset: places.Place) -> None:
    survey = parts.survey(dataset, 1000)
    folder = Path(output.place.uri)
    pl.DataFrame({"key": ["k"]}).write_parquet(folder / "part-000000.parquet")
    with pytest.raises(errors.Conflict, match="is no part of a scoring"):
        output.done()
    score_all(output, dataset, survey)
    # The receipt of a part under another name.
    (folder / "part-000000.parquet").rename(folder / "part-000007.parquet")
    with pytest.raises(errors.CorruptArtifact, match="remove it and run the scoring again"):
        output.done()
    (folder / "part-000007.parquet").write_bytes(b"PAR1")
    with pytest.raises(errors.Conflict, match="is no part of a scoring"):
        output.done()
    (folder / outputs.CLAIM).write_text("{}")
    with pytest.raises(errors.CorruptArtifact, match="does not say whose folder"):
        output.claim({})


def test_what_a_killed_writer_left_is_no_part(output: outputs.Output) -> None:
    left = Path(output.place.uri) / ".writing-part-000000.parquet.abc"
    left.write_bytes(b"half")
    assert output.done() == {} and outputs.CLAIM in output.place.names()
    output.place.sweep()
    assert not left.exists() and outputs.CLAIM in output.place.names()


def test_a_part_keeps_the_metadata_of_its_columns(output: outputs.Output, tmp_path: Path) -> None:
    write(tmp_path, "d/x.parquet", range(3))
    place = places.Place.at(str(tmp_path / "d"))
    part = parts.survey(place, 10).parts[0]
    output.write(part, parts.read(place, part), np.zeros(3, np.float32), 0.0)
    footer = pq.read_metadata(Path(output.place.uri) / part.name)
    assert b'"rows":3' in footer.metadata[b"mainspring.part"]


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    place = places.Place.at(str(tmp_path / "file" / "out"))
    with pytest.raises(errors.MainspringError) as caught:
        place.put("x", b"1")
    assert (
        caught.value.code in ("dependency_down", "not_found")
        and str(tmp_path / "file") in caught.value.message
    )
