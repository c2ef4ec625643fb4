"""Who reads the store's native tables without Python learns of each as soon as it is there."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from mainspring.core import errors, ports
from mainspring.core.features import online


def view(name: str) -> ports.ViewSchema:
    return ports.ViewSchema(name, ("k",), (("x", "float32"),), None)


def push(store: online.OnlineStore, name: str, key: int | str = 1) -> None:
    times = np.array([5])
    store.upsert(name, {"k": [key]}, event_us=times, created_us=times, columns={"x": [0.5]})


def test_a_table_is_told_of_before_its_first_push_returns() -> None:
    store = online.OnlineStore()
    store.register(view("a"))
    told: list[list[str]] = []
    store.on_change(lambda: told.append(sorted(store.tables())))
    assert told == [[]]
    store.register(view("b"))
    push(store, "a")
    assert told == [[], ["a"]]
    push(store, "a", 2)  # it is there already
    push(store, "b", "text")
    assert told == [[], ["a"], ["a", "b"]]
    assert store.tables()["a"].get([2], now_us=10).values["x"].tolist() == [0.5]
    assert store.tables()["b"].schema.keys[0].type == "string"


def test_a_push_that_is_refused_tells_nothing() -> None:
    store = online.OnlineStore()
    store.register(view("a"))
    told: list[int] = []
    store.on_change(lambda: told.append(len(store.tables())))
    with pytest.raises(errors.SchemaMismatch):
        push(store, "a", 1.5)  # type: ignore[arg-type]
    assert told == [0]


def test_restored_tables_are_there_from_the_start(tmp_path: Path) -> None:
    with online.OnlineStore(tmp_path) as store:
        store.register(view("a"))
        store.register(view("b"))
        push(store, "a")
    with online.OnlineStore(tmp_path) as store:
        told: list[list[str]] = []
        store.on_change(lambda: told.append(sorted(store.tables())))
        assert told == [["a"]]
        push(store, "b")
        assert told == [["a"], ["a", "b"]]


def test_first_pushes_of_many_threads_are_all_told_of() -> None:
    store = online.OnlineStore()
    names = [f"v{i}" for i in range(16)]
    for name in names:
        store.register(view(name))
    lock, told = threading.Lock(), [set[str]()]

    def changed() -> None:
        with lock:  # as who sets something of it must: the last one to look has seen all
            told.append(set(store.tables()))

    store.on_change(changed)
    threads = [threading.Thread(target=push, args=(store, name)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told[-1] == set(names)
