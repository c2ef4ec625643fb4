"""A published folder is complete or absent, whatever goes wrong while it is made."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mainspring.core import errors
from mainspring.core.features import folders


def make(
    target: Path, text: str = "hello", *, calls: list[str] | None = None, **inputs: Any
) -> folders.Folder:
    def write(new: Path) -> Mapping[str, Any]:
        if calls is not None:
            calls.append(text)
        (new / "part").mkdir()
        (new / "part" / "a.txt").write_text(text)
        (new / "state.db").write_text(str(len(text)))
        return {"rows": len(text), "names": ("x",)}

    return folders.publish(target, kind="thing", inputs=inputs, write=write, unlisted=frozenset({"state.db"}))


def test_what_is_returned_is_what_is_read_later(tmp_path: Path) -> None:
    made = make(tmp_path / "a" / "thing", fraction=0.5)
    again = folders.read(tmp_path / "a" / "thing", kind="thing")
    assert (again.digest, again.detail, again.inputs) == (made.digest, made.detail, made.inputs)
    assert made.detail == {"rows": 5, "names": ["x"]} and not made.reused
    assert made.files_under("part") == (1, 5)
    assert made.file_digest("part") != made.file_digest("part/a.txt")
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["thing"]


def test_the_same_inputs_are_reused_and_others_replace(tmp_path: Path) -> None:
    calls: list[str] = []
    first = make(tmp_path / "t", calls=calls, v=1)
    second = make(tmp_path / "t", "other", calls=calls, v=1)
    assert calls == ["hello"] and second.reused and second.digest == first.digest
    third = make(tmp_path / "t", "other", calls=calls, v=2)
    assert calls == ["hello", "other"] and not third.reused and third.digest != first.digest
    assert (tmp_path / "t" / "part" / "a.txt").read_text() == "other"


def test_the_digest_does_not_depend_on_the_place_or_on_unlisted_files(tmp_path: Path) -> None:
    a, b = make(tmp_path / "a", v=1), make(tmp_path / "b", v=1)
    (tmp_path / "b" / "state.db").write_text("changed")
    assert a.digest == b.digest == folders.read(tmp_path / "b", kind="thing").digest


def test_a_failing_writer_leaves_what_was_there(tmp_path: Path) -> None:
    make(tmp_path / "t", v=1)

    def fail(new: Path) -> Mapping[str, Any]:
        (new / "half").write_text("half")
        raise errors.DataInvalid("no")

    with pytest.raises(errors.DataInvalid):
        folders.publish(tmp_path / "t", kind="thing", inputs={"v": 2}, write=fail)
    with pytest.raises(errors.DataInvalid):
        folders.publish(tmp_path / "new", kind="thing", inputs={}, write=fail)
    assert [p.name for p in tmp_path.iterdir()] == ["t"]
    assert folders.read(tmp_path / "t", kind="thing").inputs == {"v": 1}


@pytest.mark.parametrize("damage", ["truncate", "remove", "manifest", "manifest_shape"])
def test_damage_is_found_on_reading_and_mended_on_making(tmp_path: Path, damage: str) -> None:
    made = make(tmp_path / "t", v=1)
    path = tmp_path / "t" / "part" / "a.txt"
    if damage == "truncate":
        path.write_text("hell")
    elif damage == "remove":
        path.unlink()
    elif damage == "manifest":
        (tmp_path / "t" / folders.MANIFEST).write_text("{")
    else:
        (tmp_path / "t" / folders.MANIFEST).write_text("[]")
    with pytest.raises(errors.CorruptArtifact) as caught:
        folders.read(tmp_path / "t", kind="thing")
    assert "; " in caught.value.message
    if damage.startswith("manifest"):  # no longer told from somebody else's folder
        with pytest.raises(errors.Conflict):
            make(tmp_path / "t", v=1)
    else:
        assert make(tmp_path / "t", v=1).digest == made.digest
        folders.read(tmp_path / "t", kind="thing")


def test_other_peoples_folders_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("precious")
    (tmp_path / "file").write_text("precious")
    folders.publish(tmp_path / "kind", kind="other", inputs={}, write=lambda new: {})
    for name in ("home", "file", "kind"):
        with pytest.raises(errors.Conflict, match="is no thing"):
            make(tmp_path / name)
    assert (tmp_path / "home" / "thesis.txt").read_text() == "precious"
    (tmp_path / "empty").mkdir()
    make(tmp_path / "empty")


def test_nothing_there_and_another_kind_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(errors.NotFound):
        folders.read(tmp_path / "t", kind="thing")
    make(tmp_path / "t")
    with pytest.raises(errors.CorruptArtifact, match="expected other"):
        folders.read(tmp_path / "t", kind="other")
    with pytest.raises(errors.NotFound):
        folders.read(tmp_path / "t", kind="thing").file_digest("nothing")


@pytest.mark.parametrize("before", [None, {"v": 0}])
def test_many_makers_at_once_agree(tmp_path: Path, before: dict[str, int] | None) -> None:
    """All pass the check that nothing is there, then all have something to put there."""
    if before is not None:
        make(tmp_path / "t", **before)
    found: list[folders.Folder] = []
    ready = threading.Barrier(6)

    def write(new: Path) -> Mapping[str, Any]:
        (new / "a.txt").write_text("hello")
        ready.wait()
        return {}

    def work() -> None:
        found.append(folders.publish(tmp_path / "t", kind="thing", inputs={"v": 1}, write=write))

    for _ in range(8):
        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 6 and len({f.digest for f in found}) == 1
        assert [f.reused for f in found].count(False) == 1  # one is the maker, and nobody replaced its work
        assert [p.name for p in tmp_path.iterdir()] == ["t"]
        folders.read(tmp_path / "t", kind="thing")
        found.clear()
        make(tmp_path / "t", **(before or {"v": 0}))


def test_what_appeared_in_the_meantime_is_not_replaced(tmp_path: Path) -> None:
    def write(new: Path) -> Mapping[str, Any]:
        (tmp_path / "t").mkdir()
        (tmp_path / "t" / "thesis.txt").write_text("precious")
        return {}

    with pytest.raises(errors.Conflict, match="is no thing"):
        folders.publish(tmp_path / "t", kind="thing", inputs={}, write=write)
    assert (tmp_path / "t" / "thesis.txt").read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == ["t"]
