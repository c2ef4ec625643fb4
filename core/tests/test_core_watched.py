"""A followed document: changes come into force, bad ones do not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mainspring.core import durable, errors, watched


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def number(content: bytes) -> int:
    try:
        return int(content)
    except ValueError as error:
        raise errors.InvalidSettings("no number; write one") from error


def test_it_is_what_the_file_says_a_second_later(tmp_path: Path) -> None:
    path, clock = tmp_path / "n.json", Clock()
    followed = watched.Watched(path, number, 0, clock=clock)
    assert followed.get() == 0
    path.write_text("1")
    assert followed.get() == 0, "no look before the second is over"
    clock.now += 1
    assert followed.get() == 1
    durable.replace_file(path, "2")
    clock.now += 1
    assert followed.get() == 2
    path.unlink()
    clock.now += 1
    assert followed.get() == 0


def test_who_keeps_copies_is_told_of_every_change_and_may_look_at_once(tmp_path: Path) -> None:
    path, clock = tmp_path / "n.json", Clock()
    followed = watched.Watched(path, number, 0, clock=clock)
    seen: list[int] = []
    followed.on_change(lambda: seen.append(followed.content))
    followed.look()
    assert seen == [], "nothing changed"
    assert followed.change(lambda _: (1, b"1")) == 1
    durable.replace_file(path, "2")
    followed.look()
    assert seen == [1, 2]
    durable.replace_file(path, "3")
    assert followed.content == 2
    clock.now += 1
    assert followed.get() == 3
    durable.replace_file(path, "four")
    followed.look()
    assert (seen, followed.is_stale, followed.content) == ([1, 2, 3], True, 3)


def test_what_cannot_be_read_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, clock = tmp_path / "n.json", Clock()
    path.write_text("1")
    followed = watched.Watched(path, number, 0, clock=clock)
    durable.replace_file(path, "seven")
    for _ in range(3):
        clock.now += 1
        assert (followed.get(), followed.is_stale) == (1, True)
    assert len(caplog.records) == 1
    durable.replace_file(path, "7")
    clock.now += 1
    assert (followed.get(), followed.is_stale) == (7, False)


def test_a_bad_document_at_the_start_is_a_misconfiguration(tmp_path: Path) -> None:
    path = tmp_path / "n.json"
    path.write_text("x")
    with pytest.raises(errors.Misconfigured, match=r"`n\.json` cannot be read: no number"):
        watched.Watched(path, number, 0)


def test_a_change_is_of_the_file_as_it_is_and_in_force_at_once(tmp_path: Path) -> None:
    path, clock = tmp_path / "sub" / "n.json", Clock()
    one, other = (watched.Watched(path, number, 0, clock=clock) for _ in range(2))
    for followed in (one, other):
        followed.change(lambda n: (n + 1, str(n + 1).encode()))
    assert other.get() == 2, "the first one's change is not lost"
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("2", 0o600)
    assert path.parent.stat().st_mode & 0o777 == 0o700

    def refuse(n: int) -> tuple[int, bytes]:
        raise errors.Conflict("not so")

    with pytest.raises(errors.Conflict):
        other.change(refuse)
    assert (other.get(), path.read_text()) == (2, "2")
    clock.now += 1
    assert one.get() == 2


def test_two_changes_at_a_time_are_refused(tmp_path: Path) -> None:
    followed = watched.Watched(tmp_path / "n.json", number, 0)
    held = durable.hold_folder(tmp_path)
    with pytest.raises(errors.Overloaded, match="another process is changing"):
        followed.change(lambda n: (1, b"1"))
    os.close(held)
    assert followed.change(lambda n: (1, b"1")) == 1
