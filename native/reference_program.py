"""A whole spec in slow, obvious NumPy: `run(spec, columns)` gives what `program.Program(spec).run(columns)` must.

Reads the spec on its own, without the decoder that it is there to check. No checks: the decoder has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mainspring.native import reference

__all__ = ["bags", "dense_column", "id_column", "run"]

INF = float("inf")


def run(spec: Mapping[str, Any], columns: Mapping[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """dense (n_rows, width) float64 and ids (n_ids, n_rows) int32."""
    first = spec["inputs"][0]
    column = columns[first["name"]]
    n_rows = len(column[0]) - 1 if first["type"] in ("events", "int64_list") else len(column)
    dense = [dense_column(item, columns) for item in spec.get("dense", [])]
    ids = [id_column(item, columns) for item in spec.get("ids", [])]
    return (
        np.stack(dense, axis=1) if dense else np.empty((n_rows, 0)),
        np.stack(ids) if ids else np.empty((0, n_rows), np.int32),
    )


def bags(spec: Mapping[str, Any], columns: Mapping[str, Any]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The ids of all bags, (n,), and where each row of each bag begins, (n_bags * n_rows + 1,)."""
    values, offsets, end = [], [], 0
    for item in spec["bags"]:
        ragged = columns[item["source"]]
        if isinstance(ragged, tuple):  # int64: (offsets, values)
            where, flat = ragged[0], ragged[1][int(ragged[0][0]) : int(ragged[0][-1])]
        else:  # strings: a list for each row
            rows = [[] if strings is None else strings for strings in ragged]
            where, flat = np.cumsum([0, *map(len, rows)]), [s for strings in rows for s in strings]
        values.append(id_column(item, {item["source"]: flat}))
        offsets.append(end + reference.bag_offsets(where)[:-1])
        end += len(flat)
    return np.concatenate(values), np.array([*np.concatenate(offsets), end], np.int32)


def source_column(source: str | Mapping[str, Any], columns: Mapping[str, Any]) -> NDArray[np.float32]:
    """A float32 input, or a window."""
    if isinstance(source, str):
        column: NDArray[np.float32] = columns[source]
        return column
    offsets, times, values = columns[source["events"]]
    return reference.window(
        offsets, times, values, columns[source["as_of"]], width=source["width"], aggregate=source["window"]
    )


def dense_column(item: Mapping[str, Any], columns: Mapping[str, Any]) -> NDArray[np.float64]:
    """One column of the dense matrix, (n_rows,)."""
    x = source_column(item["source"], columns)
    if item["op"] == "pass":
        return x.astype(np.float64)
    lower, upper, mean, scale = (
        item.get("lower"),
        item.get("upper"),
        item.get("mean", 0.0),
        item.get("scale", 1.0),
    )
    if item["op"] == "min_max":
        lower = mean = float(np.float32(item["low"]))
        upper = float(np.float32(item["high"]))
        scale = upper - lower
    result: NDArray[np.float64] = reference.dense_transform(
        [x],
        source=[0],
        indicator=[item["op"] == "missing"],
        fill=[item.get("fill", 0.0)],
        lower=[-INF if lower is None else lower],
        upper=[INF if upper is None else upper],
        log1p=[item.get("log1p", False)],
        mean=[mean],
        scale=[scale],
    )[:, 0]
    return result


def id_column(item: Mapping[str, Any], columns: Mapping[str, Any]) -> NDArray[np.int32]:
    """One column of ids, (n_rows,)."""
    offset = np.int32(item.get("offset", 0))
    if item["op"] == "bucketise":
        ids = reference.bucketise(columns[item["source"]], item["boundaries"], right=item["right"])
        return ids + offset
    if item["op"] == "vocabulary":
        return reference.vocabulary(columns[item["source"]], item["values"]) + offset
    names = item["sources"] if item["op"] == "cross" else [item["source"]]
    seed = item.get("seed", 0)
    if item["op"] == "hash" and not isinstance(columns[names[0]], np.ndarray):
        hashes = reference.hash_utf8(columns[names[0]], seed)
    else:
        hashes = reference.cross64([_hashable(columns[name]) for name in names], seed)
    missing = np.logical_or.reduce([reference.is_missing(columns[name]) for name in names])
    return reference.bucket_of(hashes, item["buckets"], missing) + offset


def _hashable(column: Any) -> NDArray[Any]:
    """A string column as what it stands for in a cross."""
    if isinstance(column, np.ndarray):
        return column
    hashes = reference.hash_utf8(column, 0)
    return np.where(hashes == 1 << 63, np.uint64((1 << 63) + 1), hashes)
