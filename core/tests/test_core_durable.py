"""Secrets that are made once, whoever comes first; files that several put at once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mainspring.core import durable


def test_of_writers_that_race_one_makes_a_secret(tmp_path: Path) -> None:
    path, made = tmp_path / "keys" / "one.key", iter(range(100))
    gate = threading.Barrier(8)

    def write() -> None:
        gate.wait()
        durable.ensure_secret(path, lambda: f"key {next(made)}".encode())

    writers = [threading.Thread(target=write) for _ in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    first = path.read_bytes()
    assert first.startswith(b"key ") and path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [p.name for p in path.parent.iterdir()] == ["one.key"], "nothing lies beside it"
    durable.ensure_secret(path, lambda: b"another")
    assert path.read_bytes() == first


def test_what_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    def fails() -> bytes:
        raise OSError("no entropy")

    with pytest.raises(OSError, match="entropy"):
        durable.ensure_secret(tmp_path / "one.key", fails)
    assert list(tmp_path.iterdir()) == []


def test_of_many_who_put_a_file_the_last_one_counts_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "one"
    contents = [bytes([n]) * 100_000 for n in range(8)]
    writers = [threading.Thread(target=durable.put_file, args=(path, content)) for content in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_bytes() in contents
    durable.put_file(path, b"secret", is_secret=True)
    assert path.read_bytes() == b"secret" and path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["one"]


def test_a_file_that_cannot_be_put_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with pytest.raises(OSError):
        durable.put_file(tmp_path / "one", b"content")
    assert [p.name for p in tmp_path.iterdir()] == ["one"]
