"""A bad batch is held whole and the last good one goes on serving; a fixed batch, or an approver, takes its place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mainspring.core import errors, identity
from mainspring.core.features import folders
from mainspring.core.quality import expectations as expect
from mainspring.core.quality import gate, measures
from mainspring.core.quality.quarantine import Quarantine
from mainspring.core.quality.report import QualityReport

KIND = "things"
SUITE = expect.Suite(
    dataset="things",
    expectations=(
        expect.NotNull(columns=("id",)),
        expect.Unique(columns=("id",)),
        expect.Distribution(column="size", min_rows=10),
    ),
)
APPROVER = identity.Actor("approver@local", ("approver",))
DEVELOPER = identity.Actor("developer@local", ("developer",))

GOOD = pl.DataFrame({"id": range(100), "size": [float(i % 10) for i in range(100)]})
REPEATED = pl.concat([GOOD, GOOD.head(1)])
DRIFTED = GOOD.with_columns(pl.col("size") + 100)


def checks(
    folder: Path, detail: Mapping[str, Any], accepted: Mapping[str, QualityReport]
) -> list[QualityReport]:
    assert detail["rows"] == pl.read_parquet(folder / "deep" / "rows.parquet").height
    rows = pl.scan_parquet(folder / "deep" / "rows.parquet")
    return [measures.evaluate(SUITE, rows, accepted=accepted.get("things"))]


def publish(target: Path, rows: pl.DataFrame, name: str) -> folders.Folder:
    def write(new: Path) -> Mapping[str, Any]:
        (new / "deep").mkdir()
        rows.write_parquet(new / "deep" / "rows.parquet")
        return {"rows": rows.height}

    return gate.publish(target, kind=KIND, inputs={"batch": name}, write=write, checks=checks)


def rows_of(target: Path) -> pl.DataFrame:
    return pl.read_parquet(folders.read(target, kind=KIND).path / "deep" / "rows.parquet")


def test_a_bad_batch_is_held_whole_and_the_good_one_serves(tmp_path: Path) -> None:
    target = tmp_path / "lake"
    first = publish(target, GOOD, "monday")
    assert first.detail["quality"]["things"]["rows"] == 100 and first.detail["rows"] == 100
    with pytest.raises(errors.DataInvalid, match="nothing of it is in use") as caught:
        publish(target, REPEATED, "tuesday")
    assert caught.value.failed == ("things: id is unique",)
    assert folders.read(target, kind=KIND).digest == first.digest and rows_of(target).equals(GOOD)
    held = Quarantine.beside(target).read(caught.value.quarantined)
    assert held.reports[0].rows == 101 and [c.name for c in held.failed] == ["things: id is unique"]
    assert (held.inputs, held.instead_of, held.release) == ({"batch": "tuesday"}, first.digest, None)
    kept = Quarantine.beside(target).data(held.name) / "deep" / "rows.parquet"
    assert pl.read_parquet(kept).equals(REPEATED)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lake", "lake.quarantine"]


def test_the_same_bad_batch_is_held_once_and_another_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "lake"
    for rows, name in ((REPEATED, "monday"), (REPEATED, "monday"), (pl.concat([GOOD, GOOD]), "tuesday")):
        with pytest.raises(errors.DataInvalid):
            publish(target, rows, name)
    assert len(Quarantine.beside(target).names()) == 2
    assert not target.exists()


def test_a_fixed_batch_is_accepted_and_the_next_compared_with_it(tmp_path: Path) -> None:
    target = tmp_path / "lake"
    publish(target, GOOD, "monday")
    with pytest.raises(errors.DataInvalid) as caught:
        publish(target, DRIFTED, "tuesday")
    assert caught.value.failed == ("things: size is spread as before",)
    assert publish(target, GOOD.reverse(), "tuesday, mended").detail["rows"] == 100
    # What was refused is not what the next batch is compared with.
    with pytest.raises(errors.DataInvalid):
        publish(target, DRIFTED, "wednesday")


def test_an_approver_releases_a_held_batch_with_a_reason(tmp_path: Path) -> None:
    target = tmp_path / "lake"
    publish(target, GOOD, "monday")
    with pytest.raises(errors.DataInvalid) as caught:
        publish(target, DRIFTED, "tuesday")
    name = caught.value.quarantined
    for actor, reason, refused in (
        (DEVELOPER, "it is right", errors.PermissionDenied),
        (APPROVER, "  ", errors.InvalidRequest),
    ):
        with pytest.raises(refused):
            gate.release(target, name, actor=actor, reason=reason)
    assert rows_of(target).equals(GOOD)
    made = gate.release(target, name, actor=APPROVER, reason="new unit since tuesday")
    assert rows_of(target).equals(DRIFTED)
    on_record = made.detail["quality_release"]
    assert (on_record["by"], on_record["reason"]) == ("approver@local", "new unit since tuesday")
    held = Quarantine.beside(target).read(name)
    assert held.release is not None and held.release.reason == "new unit since tuesday"
    # Released twice is released once, by whoever did so first; and the batch, made again, is the one in use.
    again = gate.release(target, name, actor=identity.Actor("other", ("approver",)), reason="me too")
    assert again.detail["quality_release"] == on_record and again.digest == made.digest
    assert publish(target, DRIFTED, "tuesday").reused
    # From here on tuesday's is what is normal.
    assert not publish(target, DRIFTED.reverse(), "wednesday").reused


def test_a_release_never_replaces_a_later_good_batch(tmp_path: Path) -> None:
    target = tmp_path / "lake"
    publish(target, GOOD, "monday")
    with pytest.raises(errors.DataInvalid) as caught:
        publish(target, DRIFTED, "tuesday")
    publish(target, GOOD.reverse(), "wednesday")
    with pytest.raises(errors.Conflict, match="ingest the batch again"):
        gate.release(target, caught.value.quarantined, actor=APPROVER, reason="late")
    assert rows_of(target).equals(GOOD.reverse())


def test_a_release_that_was_cut_off_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "lake"
    with pytest.raises(errors.DataInvalid) as caught:
        publish(target, REPEATED, "monday")

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Quarantine, "mark", crash)
        with pytest.raises(KeyboardInterrupt):
            gate.release(target, caught.value.quarantined, actor=APPROVER, reason="first")
    assert rows_of(target).equals(REPEATED)
    gate.release(target, caught.value.quarantined, actor=APPROVER, reason="second")
    held = Quarantine.beside(target).read(caught.value.quarantined)
    assert held.release is not None and held.release.reason == "first"


def test_an_unknown_or_damaged_batch_is_not_released(tmp_path: Path) -> None:
    target = tmp_path / "lake"
    with pytest.raises(errors.DataInvalid) as caught:
        publish(target, REPEATED, "monday")
    name = caught.value.quarantined
    with pytest.raises(errors.NotFound) as unknown:
        gate.release(target, name[:-1], actor=APPROVER, reason="x")
    assert unknown.value.did_you_mean == (name,)
    path = Quarantine.beside(target).data(name) / "deep" / "rows.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(errors.CorruptArtifact):
        gate.release(target, name, actor=APPROVER, reason="x")
    assert not target.exists()


def test_a_released_batch_does_not_change_when_its_copy_does(tmp_path: Path) -> None:
    target = tmp_path / "lake"
    with pytest.raises(errors.DataInvalid) as caught:
        publish(target, REPEATED, "monday")
    gate.release(target, caught.value.quarantined, actor=APPROVER, reason="x")
    held = Quarantine.beside(target).data(caught.value.quarantined) / "deep" / "rows.parquet"
    held.unlink()
    assert rows_of(target).equals(REPEATED)


def test_a_database_in_a_released_folder_is_used_as_in_any(tmp_path: Path) -> None:
    def write(new: Path) -> Mapping[str, Any]:
        (new / "deep").mkdir()
        REPEATED.write_parquet(new / "deep" / "rows.parquet")
        (new / "registry.db").write_text("one")
        return {"rows": REPEATED.height}

    target, unlisted = tmp_path / "features", frozenset({"registry.db"})
    given: dict[str, Any] = {
        "kind": KIND,
        "inputs": {},
        "write": write,
        "checks": checks,
        "unlisted": unlisted,
    }
    with pytest.raises(errors.DataInvalid) as caught:
        gate.publish(target, **given)
    made = gate.release(target, caught.value.quarantined, actor=APPROVER, reason="x")
    assert set(made.files) == {"deep/rows.parquet"}
    (target / "registry.db").write_text("another")  # as SQLite does, in place
    assert folders.read(target, kind=KIND).digest == made.digest and gate.publish(target, **given).reused
    Quarantine.beside(target).read(caught.value.quarantined)  # what is held did not change


def test_nothing_is_left_when_the_batch_cannot_be_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "lake"
    publish(target, GOOD, "monday")
    (tmp_path / "lake.quarantine").write_text("in the way")
    with pytest.raises(OSError):
        publish(target, REPEATED, "tuesday")
    assert rows_of(target).equals(GOOD)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lake", "lake.quarantine"]


def test_a_folder_of_reports_of_another_version_is_said_so(tmp_path: Path) -> None:
    target = tmp_path / "lake"
    folders.publish(target, kind=KIND, inputs={}, write=lambda _: {"quality": {"things": {"rows": "many"}}})
    with pytest.raises(errors.CorruptArtifact, match="no quality report of this version"):
        publish(target, GOOD, "monday")
