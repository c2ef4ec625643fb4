"""A push that its view's suite refuses never reaches the store, is held under its name, and may be released."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainspring.core import errors, identity, ports
from mainspring.core.features import online
from mainspring.core.quality import expectations as expect
from mainspring.core.quality import pushes

VIEW = ports.ViewSchema(
    "sizes", ("id",), (("size", "float32"), ("kind", "string"), ("seen", "float64")), None
)
SUITE = expect.Suite(
    dataset="sizes",
    expectations=(
        expect.Columns(types={"id": "String", "size": "Float32", "kind": "String", "seen": "Float64"}),
        expect.Range(column="size", low=0, high=100),
        expect.Unique(columns=("id", "event_timestamp")),
        expect.Share(says="created after it happened", where="created_timestamp >= event_timestamp"),
        expect.Distribution(column="kind", min_rows=50),
    ),
)
APPROVER = identity.Actor("approver@local", ("approver",))


def batch(n: int, *, size: float | None = 1.0, kind: str | None = "a", us: int = 10) -> dict[str, Any]:
    return {
        "keys": {"id": [f"k{i}" for i in range(n)]},
        "event_us": np.full(n, us, np.int64),
        "created_us": np.full(n, us, np.int64),
        "columns": {"size": [size] * n, "kind": [kind] * n, "seen": np.arange(n, dtype=np.float64)},
    }


@pytest.fixture
def store() -> online.OnlineStore:
    made = online.OnlineStore()
    made.register(VIEW)
    return made


@pytest.fixture
def checked(store: online.OnlineStore, tmp_path: Path) -> pushes.CheckedFeatures:
    return pushes.CheckedFeatures(store, [SUITE], tmp_path / "pushes")


def sizes(store: ports.OnlineFeatures, *ids: str) -> list[float]:
    return [float(v) for v in store.read("sizes", {"id": list(ids)}, now_us=10**9).values["size"]]


def test_a_good_push_arrives_as_without_a_gate(
    checked: pushes.CheckedFeatures, store: online.OnlineStore
) -> None:
    port: ports.OnlineFeatures = checked
    assert port.upsert("sizes", **batch(3, size=None, kind=None)) == 3
    assert np.isnan(sizes(store, "k0")).all()
    assert port.upsert("sizes", **batch(0)) == 0 and port.views() == store.views()


def test_a_bad_row_refuses_the_whole_push_with_its_report(
    checked: pushes.CheckedFeatures, store: online.OnlineStore
) -> None:
    checked.upsert("sizes", **batch(3))
    bad = batch(3, us=20)
    bad["columns"]["size"] = [2.0, 2.0, 101.0]
    with pytest.raises(errors.DataInvalid, match=r"expected at most 0, got 0.333333 \(1 of 3 rows") as caught:
        checked.upsert("sizes", **bad)
    assert sizes(store, "k0", "k1", "k2") == [1.0, 1.0, 1.0]
    held = checked.quarantine.read(caught.value.quarantined)
    assert held.dataset == "sizes" and [c.name for c in held.failed] == ["sizes: size within [0, 100]"]


def test_an_approver_releases_a_push_and_newer_rows_stay(
    checked: pushes.CheckedFeatures, store: online.OnlineStore
) -> None:
    with pytest.raises(errors.DataInvalid) as caught:
        checked.upsert("sizes", **batch(2, size=500.0, kind=None, us=20))
    checked.upsert("sizes", **(batch(1, size=7.0, us=30)))
    name = caught.value.quarantined
    with pytest.raises(errors.PermissionDenied):
        checked.release(name, actor=identity.Actor("d", ("developer",)), reason="x")
    released_rows = checked.release(name, actor=APPROVER, reason="a new sensor")
    assert (released_rows.received, released_rows.accepted) == (2, 1)
    assert sizes(store, "k0", "k1") == [7.0, 500.0]
    released = checked.quarantine.read(name).release
    assert released is not None and (released.by, released.reason) == ("approver@local", "a new sensor")
    checked.release(name, actor=APPROVER, reason="again")
    assert sizes(store, "k0", "k1") == [7.0, 500.0] and checked.quarantine.read(name).release == released


def test_a_population_is_compared_with_the_last_accepted_one_also_after_a_start(
    checked: pushes.CheckedFeatures, store: online.OnlineStore, tmp_path: Path
) -> None:
    checked.upsert("sizes", **batch(60, kind="a"))
    checked.upsert("sizes", **batch(10, kind="b"))  # too few to be a population
    started_again = pushes.CheckedFeatures(store, [SUITE], tmp_path / "pushes")
    for gate in (checked, started_again):
        with pytest.raises(errors.DataInvalid, match="kind is spread as before"):
            gate.upsert("sizes", **batch(60, kind="c"))
        gate.upsert("sizes", **batch(60, kind="a"))


def test_a_view_without_a_suite_and_an_unknown_one_are_the_stores_matter(
    checked: pushes.CheckedFeatures, store: online.OnlineStore
) -> None:
    checked.register(ports.ViewSchema("free", ("id",), (("size", "float32"),), None))
    sent = batch(1, size=1e9)
    sent["columns"] = {"size": [1e9]}
    assert checked.upsert("free", **sent) == 1
    with pytest.raises(errors.NotFound):
        checked.upsert("sises", **sent)
    with pytest.raises(errors.SchemaMismatch):
        checked.upsert("sizes", **(batch(1) | {"columns": {"size": ["x"], "kind": ["a"], "seen": [0.0]}}))


def test_refused_pushes_do_not_fill_the_disk(store: online.OnlineStore, tmp_path: Path) -> None:
    checked = pushes.CheckedFeatures(store, [SUITE], tmp_path / "pushes", max_held_bytes=100)
    with pytest.raises(errors.DataInvalid, match="it was not kept") as caught:
        checked.upsert("sizes", **batch(50, size=-1.0))
    assert caught.value.quarantined == "" and checked.quarantine.names() == ()
    assert store.counts()["sizes"] == 0


def test_suites_are_files_called_like_their_views(tmp_path: Path, store: online.OnlineStore) -> None:
    (tmp_path / "sizes.json").write_text(SUITE.model_dump_json())
    assert pushes.read_suites(tmp_path) == (SUITE,) and pushes.read_suites(tmp_path / "none") == ()
    (tmp_path / "other.json").write_text(SUITE.model_dump_json())
    with pytest.raises(errors.Misconfigured, match="call it `sizes.json`"):
        pushes.read_suites(tmp_path)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(errors.Misconfigured, match=r"other.json"):
        pushes.read_suites(tmp_path)
    refers = expect.Suite(dataset="sizes", expectations=(expect.References(columns=("kind",), of="kinds"),))
    with pytest.raises(errors.InvalidRequest, match="a push does not carry"):
        pushes.CheckedFeatures(store, [refers], tmp_path)
