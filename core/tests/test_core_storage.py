"""What a project keeps: every place, nobody else's, nothing twice, whatever comes and goes meanwhile; and what keeping costs."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core import cost, settings, storage
from mainspring.core.contracts.storage import StoragePlace

#: A size of its own for each file, so that a sum tells which are in it.
OURS = {
    "projects/alpha/full/lake/flights.parquet": (StoragePlace.TABLES, 1),
    "projects/alpha/full/runs/run_1/weights.npz": (StoragePlace.TABLES, 10),
    "probes/alpha.jsonl": (StoragePlace.TABLES, 100),
    "projects/alpha/pipelines/objects/ab/x": (StoragePlace.PIPELINES, 1000),
    "projects/alpha/job_logs/run_1/log": (StoragePlace.JOB_LOGS, 10_000),
    f"bundles/{'a' * 64}/weights": (StoragePlace.BUNDLES, 100_000),
    "predictions/delay/1.arrow": (StoragePlace.PREDICTIONS, 3),
    "reads/daily/1.arrow": (StoragePlace.READS, 30),
    "pushes/quarantine/daily-0123456789ab/rows": (StoragePlace.PUSHES, 300),
    "streams/alpha.landed/state.npz": (StoragePlace.STREAMS, 3000),
    "streams/alpha.landed.0-1/state.npz": (StoragePlace.STREAMS, 30_000),
    "notebooks/notebook_1/work/a.ipynb": (StoragePlace.NOTEBOOKS, 300_000),
}
NOT_OURS = (
    "projects/alphabet/full/lake/flights.parquet",
    "probes/alphabet.jsonl",
    f"bundles/{'b' * 64}/weights",
    "bundles/.writing-1/weights",
    "predictions/delays/1.arrow",
    "reads/daily-more/1.arrow",
    "pushes/quarantine/daily-more-0123456789ab/rows",
    "streams/alphabet.landed/state.npz",
    "notebooks/notebook_2/work/a.ipynb",
    "notebooks/packages/x.whl",
    "control.db",
)


@pytest.fixture
def s(tmp_path: Path) -> settings.Settings:
    found = settings.load({}, directory=tmp_path)
    state = found.stack.state_dir
    for name, (_, size) in OURS.items():
        write(state / name, size)
    for name in NOT_OURS:
        write(state / name, 7_000_000)
    said = {
        f"bundles/{'a' * 64}/manifest.json": {"project": "alpha"},
        f"bundles/{'b' * 64}/manifest.json": {"project": "beta"},
        "notebooks/notebook_1/workspace.json": {"asked": {"project": "alpha"}},
        "notebooks/notebook_2/workspace.json": {"asked": ["alpha"]},
    }
    for name, value in said.items():
        (state / name).write_text(json.dumps(value))
    return found


def write(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


def measured(s: settings.Settings) -> dict[StoragePlace, int]:
    return storage.measure(s, "alpha", storage.Owned.look(s), endpoints=["delay"], views=["daily"])


def expected(s: settings.Settings) -> dict[StoragePlace, int]:
    sizes = dict.fromkeys(StoragePlace, 0)
    for place, size in OURS.values():
        sizes[place] += size
    own = s.stack.state_dir / "bundles" / ("a" * 64) / "manifest.json"
    sizes[StoragePlace.BUNDLES] += own.stat().st_size
    sizes[StoragePlace.NOTEBOOKS] += (
        (s.stack.state_dir / "notebooks/notebook_1/workspace.json").stat().st_size
    )
    return sizes


def test_every_place_is_measured_and_nobody_elses(s: settings.Settings) -> None:
    assert measured(s) == expected(s)


def test_a_file_of_two_names_counts_once_and_links_are_not_followed(s: settings.Settings) -> None:
    root = s.stack.state_dir / "projects" / "alpha" / "full"
    os.link(root / "lake" / "flights.parquet", root / "again.parquet")
    (root / "away").symlink_to(s.stack.state_dir / "projects" / "alphabet", target_is_directory=True)
    (root / "one").symlink_to(s.stack.state_dir / "control.db")
    assert measured(s) == expected(s)


def test_what_is_not_there_or_nobodys_has_nothing(tmp_path: Path) -> None:
    s = settings.load({}, directory=tmp_path)
    assert measured(s) == dict.fromkeys(StoragePlace, 0)
    write(s.notebooks.dir / "notebook_1" / "workspace.json", 3)  # no JSON
    assert measured(s) == dict.fromkeys(StoragePlace, 0)


def test_what_cannot_be_read_has_nothing(s: settings.Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    scan, gone = os.scandir, s.stack.state_dir / "projects" / "alpha" / "full" / "runs"

    def scandir(path: Path) -> object:
        if path == gone:
            raise FileNotFoundError(path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert measured(s) == expected(s) | {StoragePlace.TABLES: 101}


@given(
    stored=st.dictionaries(st.sampled_from(StoragePlace), st.integers(0, 10**15)),
    seconds=st.lists(st.integers(1, 10**7), min_size=1, max_size=20),
    price=st.floats(0, 10, allow_nan=False),
)
def test_keeping_is_charged_to_the_billionth(
    stored: dict[StoragePlace, int], seconds: list[int], price: float
) -> None:
    book = settings.CostSettings(storage_gib_month=price)
    since, total = datetime(2026, 11, 1, tzinfo=UTC), 0
    for n in seconds:
        until = since + timedelta(seconds=n)
        view, nanos = cost.price_storage("alpha", stored, since, until, book)
        exact = Fraction(sum(stored.values())) * n / ((1 << 30) * 730 * 3600) * Fraction(repr(price)) * 10**9
        assert abs(nanos - exact) <= Fraction(1, 2)
        assert (view.charge_period_start, view.charge_period_end) == (since, until)
        total, since = total + nanos, until
    assert (view.sku_id, view.consumed_unit, view.environment) == (
        "storage_gib_month",
        "GiB-months",
        "shared",
    )


def test_a_gib_for_a_month_costs_the_books_price() -> None:
    since = datetime(2026, 11, 1, tzinfo=UTC)
    view, nanos = cost.price_storage(
        "alpha",
        {StoragePlace.TABLES: 1 << 29, StoragePlace.READS: 1 << 29},
        since,
        since + timedelta(hours=730),
        settings.CostSettings(storage_gib_month=0.023),
    )
    assert (view.billed_cost, view.consumed_quantity, nanos) == (0.023, 1.0, 23_000_000)
