"""Looked-up features as an Arrow IPC stream: for readers that want columns, not JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from mainspring.core import ports

__all__ = ["to_ipc"]

_TYPES: Final[Mapping[str, Any]] = {
    "float32": pa.float32(), "float64": pa.float64(), "int64": pa.int64(), "bool": pa.bool_(), "string": pa.string()
}  # fmt: skip
_TIME: Final = pa.timestamp("us", "UTC")


def to_ipc(
    keys: Mapping[str, Sequence[Any]],
    parts: Sequence[tuple[ports.ViewSchema, Mapping[str, str], ports.OnlineRows]],
) -> bytes:
    """One record batch: the keys; per part `names[output] = field`, then `<view>__status` (uint8 of FeatureStatus) and
    `<view>__event_time` (microseconds, UTC; null where nothing was found)."""
    arrays, names = [pa.array(list(values)) for values in keys.values()], list(keys)
    for view, outputs, rows in parts:
        kinds = dict(view.fields)
        for name, field in outputs.items():
            arrays.append(pa.array(rows.values[field], _TYPES[kinds[field]], mask=~rows.valid[field]))
            names.append(name)
        is_absent = rows.status == np.uint8(ports.FeatureStatus.NOT_FOUND)
        arrays += [pa.array(rows.status), pa.array(rows.event_us, pa.int64(), mask=is_absent).cast(_TIME)]
        names += [f"{view.name}__status", f"{view.name}__event_time"]
    batch = pa.record_batch(arrays, names)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())
