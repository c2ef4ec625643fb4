"""The words of the point-in-time join read one pair of rows after the other: what every join here is tested against."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import strategies as st

from mainspring.core.features import frames

T0 = datetime(2020, 1, 1, tzinfo=UTC)
KEYS = ["a", "b"]


def at(n: int | None) -> datetime | None:
    return None if n is None else T0 + timedelta(minutes=n)


def brute_force(
    asked: list[Any], rows: list[Any], ttl: int | None, known_only: bool, keyed: bool
) -> list[Any]:
    answers = []
    for a, b, when in asked:
        best: Any = None
        for i, (ka, kb, event, created, value) in enumerate(rows):
            if event is None or event > when:
                continue
            if keyed and (None in (a, b, ka, kb) or (a, b) != (ka, kb)):
                continue
            if known_only and created is not None and created > when:
                continue
            order = (event, -1 if created is None else created, i)
            if best is None or order > best[0]:
                best = (order, value)
        alive = best is not None and (ttl is None or when - best[0][0] <= ttl)
        answers.append(best[1] if alive else None)
    return answers


MINUTE = st.integers(0, 12)
ASKED = st.tuples(st.sampled_from(["x", "y", None]), st.sampled_from([1, 2, None]), MINUTE)
ROW = st.tuples(
    st.sampled_from(["x", "y", None]), st.sampled_from([1, 2, None]), st.none() | MINUTE, st.none() | MINUTE, st.integers(0, 99)
)  # fmt: skip
TTL = st.sampled_from([None, 0, 3])


def questions(asked: list[Any]) -> pl.DataFrame:
    """(a, b, minute) each, as columns `a`, `b` and `t`."""
    return pl.DataFrame(
        {"a": [r[0] for r in asked], "b": [r[1] for r in asked], "t": [at(r[2]) for r in asked]},
        schema={"a": pl.String, "b": pl.Int64, "t": frames.TIME},
    )


def facts(rows: list[Any]) -> pl.DataFrame:
    """(a, b, event minute, created minute, value) each, as columns `a`, `b`, `e`, `c` and `v`."""
    return pl.DataFrame(
        {
            "a": [r[0] for r in rows], "b": [r[1] for r in rows], "e": [at(r[2]) for r in rows],
            "c": [at(r[3]) for r in rows], "v": [r[4] for r in rows],
        },
        schema={"a": pl.String, "b": pl.Int64, "e": frames.TIME, "c": frames.TIME, "v": pl.Int64},
    )  # fmt: skip


@contextlib.contextmanager
def full_disk(file_bytes: int = 0) -> Iterator[None]:
    """No file of this process grows past `file_bytes`: a write fails as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
