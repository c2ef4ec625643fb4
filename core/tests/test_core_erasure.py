"""Erasing on real files and stores: everything of one subject goes, nothing of another, and a crash leaves each file whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from core_erasure_world import PAIRS, SUBJECT, TAILS, VIEW, World, online, push

from mainspring.core import durable, errors, job_logs, settings
from mainspring.core.contracts import base, run_logs
from mainspring.core.contracts.erasure import CertifiedPlace, ErasureCertificate, LegalGround
from mainspring.core.erasure import certificate, erasing, files
from mainspring.core.erasure.erased import ErasedList
from mainspring.core.erasure.matching import BySubject, ErasedRows
from mainspring.core.erasure.online import ErasedFeatures, OnlinePlace
from mainspring.core.erasure.places import FolderPlace, LogsPlace, leave_out, scrub
from mainspring.core.erasure.subjects import Subject, SubjectHasher, text_of
from mainspring.core.features import folders, lake, segment_file, segments
from mainspring.core.models import signing

ROWS = {
    "offline tables": (8, 5),  # two files of the lake, a run's, two sealed ones
    "pipeline contents": (1, 1),
    "pipeline runs": (0, 0),
    "other files of pipeline runs": (0, 0),
    "kept logs of jobs": (0, 0),
    "prediction log": (2, 1),
    "recorded reads": (0, 0),
    "held pushes": (0, 0),
    "recorded requests": (2, 1),
    "state of streams": (0, 0),
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def found(world: World, matcher: BySubject) -> dict[str, tuple[int, int]]:
    return {f.place: (f.rows, f.items) for f in (p.find(matcher) for p in world.places())}


def test_all_of_one_subject_goes_and_nothing_of_others(world: World) -> None:
    matcher, places = world.matcher(), world.places()
    assert found(world, matcher) == ROWS
    before = [place.find(matcher) for place in places]
    assert before[0].datasets == [world.lake.digest]
    erased = {f.place: f.rows for f in (erasing.erase(place, matcher) for place in places)}
    assert erased == {name: rows for name, (rows, _) in ROWS.items()}
    told, uncovered = erasing.prove(places, matcher, before)
    assert uncovered == []
    assert {p.place: (p.rows_before, p.rows_after) for p in told} == {n: (r, 0) for n, (r, _) in ROWS.items()}
    for other in ("N101", "N103"):
        kept = found(world, world.matcher(Subject("tiny", "tailnum", other, frozenset({"aircraft"}))))
        assert kept["offline tables"] == (10 - 2, 5) and kept["prediction log"] == (2, 1)
    of_others = FolderPlace("log", [world.settings.serving.predictions_dir / "of-others"])
    assert of_others.find(matcher).rows == 2, "another project's endpoint is not touched"
    assert sum(erasing.erase(place, matcher).rows for place in places) == 0, "again there is nothing"


def test_a_log_that_names_the_key_as_a_word_goes_whole(tmp_path: Path) -> None:
    job = run_logs.LogJob(name="ms-1", status="FAILED")
    logs = job_logs.JobLogs.of(tmp_path, "tiny")
    logs.keep("run_1", job, "epoch 1\nbad row: tailnum=N102, distance 5\nand N102")
    logs.keep("run_2", job, "N1023 and xN102 are others'")
    place = LogsPlace("logs", tmp_path / "projects" / "tiny" / "job_logs")
    assert (place.find(BySubject(SUBJECT)).rows, place.find(BySubject(SUBJECT)).items) == (2, 1)
    assert place.erase(BySubject(SUBJECT)).rows == 2
    assert place.find(BySubject(SUBJECT)).rows == 0 == place.erase(BySubject(SUBJECT)).rows
    assert (logs.jobs("run_1"), logs.jobs("run_2")) == ((), (job,))


def test_a_published_folder_is_whole_and_reused_after_it(world: World) -> None:
    assert scrub(world.lake.path, world.matcher()) == 2
    after = folders.read(world.lake.path, kind="lake")
    assert after.digest != world.lake.digest and after.detail == world.lake.detail
    assert after.files["airports/part-0.parquet"] == world.lake.files["airports/part-0.parquet"]
    assert pl.read_parquet(world.lake.path / "month=0" / "part-0.parquet")["tailnum"].to_list() == [
        "N101",
        "N103",
    ]

    def never(_: Path) -> dict[str, object]:
        raise AssertionError("made again")

    again = folders.publish(world.lake.path, kind="lake", inputs={"source": "tiny 1"}, write=never)
    assert again.reused and again.digest == after.digest
    assert {p.name for p in world.lake.path.parent.iterdir()} == {"lake", "runs", "sealed"}, (
        "nothing is left beside it"
    )


def test_a_file_stays_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = pl.DataFrame({"tailnum": list(TAILS) * 1000, "n": range(3000)})
    rows.write_parquet(path, compression="zstd", row_group_size=500, metadata={"of": "tiny"})
    path.chmod(0o640)
    os.utime(path, (1000, 1000))
    before = pq.ParquetFile(path)
    assert files.erase(path, BySubject(SUBJECT)) == 1000
    after = pq.ParquetFile(path)
    assert pl.read_parquet(path).equals(rows.filter(pl.col("tailnum") != "N102"))
    assert after.schema_arrow.equals(before.schema_arrow)
    assert pl.read_parquet_metadata(path)["of"] == "tiny"
    assert after.metadata.num_row_groups == before.metadata.num_row_groups
    assert after.metadata.row_group(0).column(0).compression == "ZSTD"
    assert (path.stat().st_mode & 0o777, path.stat().st_mtime) == (0o640, 1000), (
        "it gets no older by it, and no younger"
    )


@pytest.mark.parametrize(
    ("values", "key", "rows"),
    [
        ([5, 50, None], "5", 1),
        ([5.0, 5.5, None], "5", 1),
        (["5", "05", None], "5", 1),
        ([b"5", b"55", None], "5", 1),
        ([5, 50], "05", 0),
        ([5, 50], str(1 << 70), 0),
        ([True, False], "1", 0),
        (["é", "e"], "é", 1),
    ],
)  # fmt: skip
def test_what_a_key_looks_like(tmp_path: Path, values: list[object], key: str, rows: int) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"key__id": values}).write_parquet(path)
    matcher = BySubject(Subject("tiny", "id", key))
    assert files.count(path, matcher) == files.erase(path, matcher) == rows
    assert pl.read_parquet(path).height == len(values) - rows


def test_all_rows_of_a_file_may_be_the_subjects(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"tailnum": ["N102"] * 3}).with_columns(
        pl.col("tailnum").cast(pl.Categorical)
    ).write_parquet(path)
    assert files.erase(path, BySubject(SUBJECT)) == 3
    assert pl.read_parquet(path).shape == (0, 1)


def test_what_cannot_be_read_is_not_said_to_be_erased(world: World) -> None:
    world.run.write_bytes(b"PAR1 torn")
    with pytest.raises(
        errors.CorruptArtifact, match=r"predictions.parquet` cannot be read, so nobody can say"
    ):
        world.places()[0].find(world.matcher())
    world.run.unlink()
    world.probes.write_text("{torn\n")
    with pytest.raises(errors.CorruptArtifact, match="tiny.jsonl"):
        next(p for p in world.places() if p.name == "recorded requests").erase(world.matcher())


def test_a_crash_leaves_each_file_whole_and_a_rerun_ends_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[[Path, Callable[[Path], None]], None] = durable.place_file
    calls = 0

    def crash(path: Path, write: Callable[[Path], None]) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            write(path.with_name(path.name + ".new"))
            raise OSError(28, "No space left on device")
        real(path, write)

    monkeypatch.setattr(durable, "place_file", crash)
    matcher, places = world.matcher(), world.places()
    with pytest.raises(errors.DependencyDown, match="check the disk"):
        for place in places:
            place.erase(matcher)
    assert folders.read(world.lake.path, kind="lake").digest == world.lake.digest, (
        "all of the folder or nothing"
    )
    monkeypatch.setattr(durable, "place_file", real)
    assert sum(erasing.erase(place, matcher).rows for place in places) == sum(
        rows for rows, _ in ROWS.values()
    )
    assert all(not p.find(matcher).rows for p in places)
    assert pl.read_parquet(world.run).height == 4


def test_what_a_killed_eraser_leaves_beside_a_folder_is_erased_as_well(world: World) -> None:
    left = world.root / ".lake.old-0123456789ab"
    world.lake.path.rename(left)
    matcher = world.matcher()
    assert world.places()[0].find(matcher).rows == 8
    erasing.erase(world.places()[0], matcher)
    assert files.count(left / "month=0" / "part-0.parquet", matcher) == 0


def test_a_writer_that_does_not_stop_is_named(world: World) -> None:
    class Writer(FolderPlace):
        def erase(self, subject: BySubject):  # type: ignore[no-untyped-def]
            done = super().erase(subject)
            world.rows.write_parquet(world.run.with_name("more.parquet"))
            return done

    place = Writer("offline tables", [world.root])
    with pytest.raises(errors.Conflict, match="come again to `offline tables` while"):
        erasing.erase(place, world.matcher())
    with pytest.raises(errors.Conflict, match="came again to `offline tables` after"):
        erasing.prove([place], world.matcher(), [])


def test_segments_go_whole_and_are_made_again(tmp_path: Path) -> None:
    source = tmp_path / "rows.parquet"
    times = pl.Series("at", range(6)).cast(pl.Datetime("us", "UTC"))
    pl.DataFrame({"tailnum": TAILS * 2, "at": times}).write_parquet(source)
    made = segments.Segments(
        tmp_path / "segments", lake.Parquet(str(source)), segment_file.Order(("tailnum",), "at")
    )
    made.refresh()
    place, matcher = FolderPlace("offline tables", [tmp_path]), BySubject(SUBJECT)
    assert (place.find(matcher).rows, place.find(matcher).items) == (4, 2)
    assert erasing.erase(place, matcher).rows == 4
    assert [p.name for p in (tmp_path / "segments").iterdir() if p.suffix == ".arrow"] == []
    assert made.refresh().rows == 4


@pytest.mark.parametrize("on_disk", [False, True])
def test_online_rows_go_from_memory_and_from_the_disk(tmp_path: Path, on_disk: bool) -> None:
    folder = tmp_path / "online" if on_disk else None
    place_of = ["planes", "pairs", "nobody's"]
    with online(folder) as store:
        place = OnlinePlace(store, place_of)
        assert (place.find(BySubject(SUBJECT)).rows, place.find(BySubject(SUBJECT)).items) == (3, 2)
        assert erasing.erase(place, BySubject(SUBJECT)).rows == 3
        assert store.counts() == {"pairs": 4, "planes": 2}
        assert store.held(place_of, ["origin"], "JFK") == {"planes": 0, "pairs": 2, "nobody's": 0}
        rows = store.read("planes", {"tailnum": ["N102", "N101"]}, now_us=100)
        assert rows.status.tolist() == [1, 0]
    if folder is not None:
        held = b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())
        assert b"N101" in held and b"N102" not in held
        with online_again(folder) as store:
            assert store.counts() == {"pairs": 4, "planes": 2}


def online_again(folder: Path):  # type: ignore[no-untyped-def]
    from mainspring.core.features.online import OnlineStore

    return OnlineStore(folder)


def kept_out(tmp_path: Path, *views: str) -> ErasedList:
    known = ErasedList.of(settings.load({}, directory=tmp_path).protection)
    known.add(SUBJECT, views=views, erasure_id="era_1")
    return known


def test_late_rows_of_an_erased_subject_are_not_taken_in(tmp_path: Path) -> None:
    known = kept_out(tmp_path, VIEW.name)
    with online() as store:
        store.forget(["planes"], ["tailnum"], "N102")
        gated = ErasedFeatures(store, known)
        assert push(gated, TAILS, at_us=99) == 2 and gated.dropped_rows == 1
        assert push(gated, ("N102",), at_us=100) == 0
        assert store.held(["planes"], ["tailnum"], "N102") == {"planes": 0}
        keys = {"origin": ["LGA"], "tailnum": ["N102"]}
        one = np.array([200], np.int64)
        assert gated.upsert("pairs", keys, event_us=one, created_us=one, columns={"delay": [1.0]}) == 1, (
            PAIRS.name
        )
        with pytest.raises(errors.SchemaMismatch):
            gated.upsert(
                "planes", {"tailnum": ["N102"]}, event_us=one, created_us=one, columns={"seats": [1.0, 2.0]}
            )


def test_tables_that_are_made_again_are_held_against_the_list(world: World, tmp_path: Path) -> None:
    known = kept_out(tmp_path)
    check = known.of_project("tiny")
    assert check is not None and known.of_project("other") is None and known.of_view("planes") is None
    matcher = ErasedRows(check.is_erased, check.columns)
    assert leave_out(world.lake.path, matcher) == 2 and leave_out(world.lake.path, matcher) == 0
    assert folders.read(world.lake.path, kind="lake").digest != world.lake.digest
    assert leave_out(world.run.parent, matcher) == 2, (
        "`aircraft` is the same key, and loose files have it as well"
    )
    assert pl.read_parquet(world.run)["aircraft"].to_list() == ["N101", "N103"] * 2


def test_files_that_are_put_back_are_held_against_the_list(world: World, tmp_path: Path) -> None:
    assert erasing.replay(world.settings, "tiny") == [], "nobody was erased"
    before = world.run.read_bytes()
    ErasedList.of(world.settings.protection).add(SUBJECT, views=[], erasure_id="era_1")
    done = {found.place: found.rows for found in erasing.replay(world.settings, "tiny")}
    assert done["offline tables"] == 4, "of the lake and of a run; what is sealed keeps its secret"
    assert done["recorded requests"] == 2
    assert pl.read_parquet(world.run)["aircraft"].to_list() == ["N101", "N103"] * 2
    world.run.write_bytes(before)
    assert sum(found.rows for found in erasing.replay(world.settings, "tiny")) == 2
    assert sum(found.rows for found in erasing.replay(world.settings, "tiny")) == 0
    assert erasing.replay(world.settings, "other") == []


def test_the_list_has_no_names_and_outlives_its_process(tmp_path: Path) -> None:
    known = kept_out(tmp_path, "planes")
    again = known.add(Subject("tiny", "tailnum", "N102"), views=["pairs"], erasure_id="era_2")
    assert (again.erasure_id, again.views, again.columns) == (
        "era_1",
        ("pairs", "planes"),
        ("aircraft", "tailnum"),
    )
    fresh = ErasedList.of(settings.load({}, directory=tmp_path).protection)
    assert fresh.entries() == (again,)
    (file,) = tmp_path.rglob("subjects.json")
    assert b"N102" not in file.read_bytes()
    file.write_text("{}")
    with pytest.raises(errors.Misconfigured, match="restore it or remove it"):
        ErasedList.of(settings.load({}, directory=tmp_path).protection)


def test_a_key_has_one_text() -> None:
    assert [text_of(v) for v in (5, 5.0, "5", b"5", np.int64(5), True, None, float("nan"), [5], 5.5)] == [
        *["5"] * 5, None, None, None, None, "5.5",
    ]  # fmt: skip


def proof(hasher: SubjectHasher, **changes: object) -> ErasureCertificate:
    at = base.utc_now()
    told = {
        "erasure_id": "era_1", "project": "tiny", "entity": "tailnum", "subject_hash": hasher.of(SUBJECT),
        "ground": LegalGround.OBJECTION, "requested_by": "ana", "requested_at": at, "approved_by": "ben",
        "approved_at": at, "erased_at": at, "kept": list(erasing.KEPT),
        "places": [CertifiedPlace(place="online store", rows_before=3, items_before=1, rows_after=0)],
    }  # fmt: skip
    return ErasureCertificate.model_validate(told | changes)


def test_a_certificate_is_checked_without_us(tmp_path: Path) -> None:
    hasher = SubjectHasher.load(tmp_path / "subjects.key")
    key = signing.ensure_key(tmp_path / "signing.key")
    key.publish(tmp_path / "trusted")
    trust = signing.TrustedKeys.load(tmp_path / "trusted")
    sealed = certificate.seal(proof(hasher), key)
    assert b"N102" not in sealed
    told, signer = certificate.open_sealed(sealed, trust)
    assert (told, signer) == (proof(hasher, **told.model_dump()), key.key_id) and told.rows_erased == 3
    certificate.require_subject(told, "N102", hasher)
    with pytest.raises(errors.Conflict, match="of another `tailnum`"):
        certificate.require_subject(told, "N101", hasher)
    with pytest.raises(errors.Conflict):
        certificate.require_subject(told, "N102", SubjectHasher(b"0" * 32))
    for i in range(0, len(sealed), 7):
        with pytest.raises((errors.CorruptArtifact, errors.PolicyDenied)):
            certificate.open_sealed(sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1 :], trust)
    with pytest.raises(errors.PolicyDenied):
        certificate.open_sealed(certificate.seal(told, signing.ensure_key(tmp_path / "other.key")), trust)


def test_a_certificate_does_not_say_what_is_not_so(tmp_path: Path) -> None:
    hasher, key = SubjectHasher(b"0" * 32), signing.ensure_key(tmp_path / "signing.key")
    left = [CertifiedPlace(place="online store", rows_before=3, items_before=1, rows_after=1)]
    with pytest.raises(errors.InvariantViolated, match="rows are left"):
        certificate.seal(proof(hasher, places=left), key)
    with pytest.raises(errors.InvalidSettings, match="restore it"):
        (tmp_path / "bad.key").write_text("00")
        SubjectHasher.load(tmp_path / "bad.key")
