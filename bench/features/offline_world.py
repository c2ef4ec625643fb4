"""The history and the questions of the offline contests, the same in Feast over its stores and over ours, and who is right."""

from __future__ import annotations

import bisect
import contextlib
import ctypes
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray

# isort: split

# The adapter first: it keeps Feast's metrics folder out of the environment.
from mainspring.core.features import feast_adapter

# isort: split

from feast import Entity, FeatureStore, FeatureView, FileSource, RepoConfig, ValueType

OURS: Final = "mainspring.core.features.feast_store.MainspringOfflineStore"
FEATURES: Final = [f"f{i}" for i in range(10)]
REFS: Final = [f"stats:{name}" for name in FEATURES]
TTL: Final = timedelta(days=2)
_START_US: Final = 1_700_000_000_000_000
_SPAN_US: Final = 100 * 86_400_000_000
_TIME: Final = pl.Datetime("us", "UTC")
_US: Final = timedelta(microseconds=1)


@dataclass(frozen=True)
class OfflineWorld:
    """`path` holds the history of 100 days; `asked` are the questions, `expected` the right answer by their `row`."""

    folder: Path
    path: Path
    asked: pl.DataFrame
    expected: pl.DataFrame
    stores: dict[str, FeatureStore]

    def entity_frame(self) -> pd.DataFrame:
        """The questions as Feast takes them."""
        return self.asked.to_pandas()


@contextlib.contextmanager
def world(*, rows: int, questions: int) -> Iterator[OfflineWorld]:
    """A history of `rows` rows, a hundredth of them keys, and four stores over it."""
    warnings.simplefilter("ignore")  # Feast's own
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        history, asked = _data(rows, questions)
        history.write_parquet(folder / "rows.parquet")
        offline: dict[str, dict[str, Any]] = {
            "mainspring-segments": {"type": OURS, "segments": "segments"},
            "mainspring-parquet": {"type": OURS},
            "feast-duckdb": {"type": "duckdb"},
            "feast-file": {"type": "dask"},
        }
        stores = {
            who: _store(stack, folder / who, folder / "rows.parquet", how) for who, how in offline.items()
        }
        yield OfflineWorld(folder, folder / "rows.parquet", asked, _right(history, asked), stores)


def _data(rows: int, questions: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    made = np.random.default_rng(7)
    keys = max(rows // 100, 1)
    event = _START_US + made.integers(0, _SPAN_US, rows)
    history = pl.DataFrame(
        {
            "driver": made.integers(0, keys, rows),
            "event_timestamp": event,
            "created": event + made.integers(0, 3_600_000_000, rows),
            **{name: made.random(rows, np.float32) for name in FEATURES},
        }
    )
    asked = pl.DataFrame(
        {
            "driver": made.integers(0, keys, questions),
            "event_timestamp": _START_US + made.integers(0, _SPAN_US, questions),
            "row": np.arange(questions),
        }
    )
    asked = asked.with_columns(pl.col("event_timestamp").cast(_TIME))
    return history.with_columns(pl.col("event_timestamp", "created").cast(_TIME)), asked


def _right(history: pl.DataFrame, asked: pl.DataFrame) -> pl.DataFrame:
    """Key by key in Python: slow and plain."""
    of_key: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    times = (history[name].to_physical().to_list() for name in ("event_timestamp", "created"))
    for row, (key, event, created) in enumerate(zip(history["driver"].to_list(), *times, strict=True)):
        of_key[key].append((event, created, row))
    for facts in of_key.values():
        facts.sort()
    found: list[int | None] = []
    for key, as_of in zip(
        asked["driver"].to_list(), asked["event_timestamp"].to_physical().to_list(), strict=True
    ):
        facts = of_key[key]
        at = bisect.bisect_right(facts, (as_of, 2**63, 0)) - 1
        is_alive = at >= 0 and as_of - facts[at][0] <= TTL // _US
        found.append(facts[at][2] if is_alive else None)
    return asked.select(
        "row", *(history[name].gather(pl.Series(found, dtype=pl.UInt32)) for name in FEATURES)
    )


def _store(stack: contextlib.ExitStack, folder: Path, path: Path, offline: dict[str, Any]) -> FeatureStore:
    folder.mkdir()
    store = FeatureStore(
        config=RepoConfig(
            project="bench", provider="local", repo_path=folder, online_store=None, offline_store=offline,
            registry={"registry_type": "sql", "path": f"sqlite:///{folder / 'registry.db'}", "cache_ttl_seconds": 600},
            entity_key_serialization_version=3,
        )
    )  # fmt: skip
    driver = Entity(name="driver", join_keys=["driver"], value_type=ValueType.INT64)
    view = FeatureView(
        name="stats", entities=[driver], ttl=TTL,
        schema=[feast_adapter.field("driver", "int64"), *(feast_adapter.field(n, "float32") for n in FEATURES)],
        source=FileSource(
            name="rows", path=str(path), timestamp_field="event_timestamp", created_timestamp_column="created"
        ),
    )  # fmt: skip
    store.apply([driver, view])
    store.refresh_registry()
    stack.callback(store.registry.write_engine.dispose)
    return store


def peak_mb(run: Callable[[], object]) -> float:
    """How far the process's memory rises above where it was, mapped files included, in MB. Linux only."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _status_mb("VmRSS")
    run()
    return _status_mb("VmHWM") - before


def _status_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def as_numpy(frame: pl.DataFrame) -> NDArray[np.float32]:
    """(rows, features) in the order of `row`, null as NaN."""
    ordered = frame.sort("row").select(pl.col(FEATURES).cast(pl.Float32).fill_null(np.nan))
    return ordered.to_numpy()
