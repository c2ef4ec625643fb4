"""The answer of an online read, turned into what is asked of it only then: dict, frame, tensor, NumPy or Feast's proto."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from feast.online_response import TIMESTAMP_POSTFIX, OnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.type_map import python_values_to_proto_values
from feast.value_type import ValueType
from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import NDArray

from mainspring.core import ports
from mainspring.core.features import row_table
from mainspring.core.features.feast_store import declared, values

__all__ = ["MainspringOnlineResponse", "Output", "Part", "computed", "only"]

_STATUS: Final = {
    int(ports.FeatureStatus.PRESENT): FieldStatus.PRESENT,
    int(ports.FeatureStatus.NOT_FOUND): FieldStatus.NOT_FOUND,
    int(ports.FeatureStatus.OUTSIDE_MAX_AGE): FieldStatus.OUTSIDE_MAX_AGE,
}


@dataclass(frozen=True)
class Output:
    """How one view's fields are called in the answer, by group, and what must be done to their kept values."""

    view: str
    """Empty for an on-demand view: Feast's metadata does not name those."""
    version: int
    groups: tuple[row_table.Group, ...]
    names: tuple[tuple[str, ...], ...]
    types: tuple[tuple[ValueType, ...], ...]
    readers: Mapping[str, Callable[[Any], Any]]


@dataclass(slots=True)
class Part:
    """One view's answer: `one` for a single row (values by group, status, event time), else `found`."""

    output: Output
    found: row_table.Found | None
    one: tuple[list[list[Any]], int, int] | None

    def kept(self) -> list[list[list[Any]]]:
        """By group and field the kept values, None for null."""
        if self.one is not None:
            return [[[value] for value in row] for row in self.one[0]]
        assert self.found is not None
        columns = []
        for g, matrix in enumerate(self.found.values):
            lists = matrix.T.tolist()
            if self.found.nulls is not None:
                # Patched, not converted as objects: with few nulls that is several times faster.
                for column, row in np.argwhere(self.found.nulls[g].T).tolist():
                    lists[column][row] = None
            columns.append(lists)
        return columns

    def status(self) -> list[int]:
        return [self.one[1]] if self.one is not None else self.found.status.tolist()  # type: ignore[union-attr]

    def event_us(self) -> list[int]:
        return [self.one[2]] if self.one is not None else self.found.event_us.tolist()  # type: ignore[union-attr]


def only(part: Part, names: frozenset[str]) -> Part:
    """The part without the fields that are called otherwise: what only an on-demand view needed."""
    output = part.output
    at = [[i for i, name in enumerate(group) if name in names] for group in output.names]
    kept = replace(
        output,
        names=tuple(tuple(group[i] for i in ix) for group, ix in zip(output.names, at, strict=True)),
        types=tuple(tuple(group[i] for i in ix) for group, ix in zip(output.types, at, strict=True)),
        readers={name: read for name, read in output.readers.items() if name in names},
    )
    if part.one is not None:
        rows, status, event = part.one
        return Part(
            kept, None, ([[row[i] for i in ix] for row, ix in zip(rows, at, strict=True)], status, event)
        )
    assert part.found is not None
    found = replace(
        part.found,
        values=[matrix[:, ix] for matrix, ix in zip(part.found.values, at, strict=True)],
        nulls=part.found.nulls and [nulls[:, ix] for nulls, ix in zip(part.found.nulls, at, strict=True)],
    )
    return Part(kept, found, None)


def computed(columns: Mapping[str, declared.Column], types: Mapping[str, ValueType], rows: int) -> Part:
    """The features of an on-demand view by their names in the answer: PRESENT, without a time."""
    kept = {name: declared.kept(column, types[name]) for name, column in columns.items()}
    kinds = {name: values.kept_kind(types[name]) for name in kept}
    output = Output(
        view="",
        version=0,
        groups=tuple(row_table.Group(kinds[name], (name,), None) for name in kept),
        names=tuple((name,) for name in kept),
        types=tuple((types[name],) for name in kept),
        readers={name: read for name in kept if (read := values.to_python(types[name])) is not None},
    )
    if rows == 1:
        return Part(output, None, ([list(column) for column in kept.values()], 0, 0))
    found = row_table.Found(
        [_array(kinds[name], column)[:, None] for name, column in kept.items()],
        [np.array([[v is None] for v in column], np.bool_).reshape(-1, 1) for column in kept.values()],
        np.zeros(rows, np.uint8),
        np.zeros(rows, np.int64),
    )
    return Part(output, found, None)


class MainspringOnlineResponse(OnlineResponse):  # type: ignore[misc]
    """Feast's OnlineResponse over arrays: `.proto` is built when it is asked for. Not shared between threads."""

    _proto: Any = None

    def __init__(
        self,
        keys: Mapping[str, list[Any]],
        key_types: Mapping[str, ValueType],
        parts: Sequence[Part],
        has_metadata: bool,
    ) -> None:
        # Not the parent's: it would want the proto.
        self._keys = keys
        self._key_types = key_types
        self._parts = parts
        self._has_metadata = has_metadata

    def to_dict(self, include_event_timestamps: bool = False) -> dict[str, Any]:
        """As Feast's: a list of Python values by name; with times, seconds under `name__ts`."""
        response: dict[str, Any] = dict(self._keys)
        for part in self._parts:
            output = part.output
            one = part.one
            if one is not None:
                for names, row in zip(output.names, one[0]):  # noqa: B905 - strict costs a tenth of the call
                    for name, value in zip(names, row):  # noqa: B905
                        response[name] = [value]
            else:
                for names, columns in zip(output.names, part.kept(), strict=True):
                    response.update(zip(names, columns, strict=True))
            if output.readers:
                for name, read in output.readers.items():
                    response[name] = [read(value) for value in response[name]]
        return self._with_times(response) if include_event_timestamps else response

    def _with_times(self, response: dict[str, Any]) -> dict[str, Any]:
        timed: dict[str, Any] = {}
        for name, column in self._keys.items():
            timed[name], timed[name + TIMESTAMP_POSTFIX] = response[name], [0] * len(column)
        for part in self._parts:
            seconds = [us // 1_000_000 for us in part.event_us()]
            for name in (n for names in part.output.names for n in names):
                timed[name], timed[name + TIMESTAMP_POSTFIX] = response[name], list(seconds)
        return timed

    def to_numpy(self) -> dict[str, NDArray[Any]]:
        """One array (n,) a feature in its own type, without a copy where it was gathered; null is NaN, 0, False or None."""
        arrays: dict[str, NDArray[Any]] = {}
        for part in self._parts:
            if part.found is not None:
                for names, matrix in zip(part.output.names, part.found.values, strict=True):
                    arrays.update(zip(names, matrix.T, strict=True))
            else:
                for group, names, columns in zip(
                    part.output.groups, part.output.names, part.kept(), strict=True
                ):
                    for name, column in zip(names, columns, strict=True):
                        arrays[name] = _array(group.kind, column)
        return arrays

    def statuses(self) -> dict[str, list[ports.FeatureStatus]]:
        """By feature, why each row has a value or has none."""
        found = {}
        for part in self._parts:
            status = [ports.FeatureStatus(s) for s in part.status()]
            found.update({name: status for names in part.output.names for name in names})
        return found

    @property
    def proto(self) -> Any:
        """Feast's GetOnlineFeaturesResponse, with status and microseconds."""
        if self._proto is None:
            self._proto = self._build()
        return self._proto

    def _build(self) -> Any:
        response = GetOnlineFeaturesResponse()
        for name, column in self._keys.items():
            response.metadata.feature_names.val.append(name)
            protos = python_values_to_proto_values(column, self._key_types.get(name, ValueType.UNKNOWN))
            response.results.add(
                values=protos,
                statuses=[FieldStatus.PRESENT] * len(column),
                event_timestamps=[Timestamp()] * len(column),
            )
        for part in self._parts:
            statuses = [_STATUS[s] for s in part.status()]
            times = [
                Timestamp(seconds=us // 1_000_000, nanos=us % 1_000_000 * 1000) for us in part.event_us()
            ]
            if self._has_metadata and part.output.view:
                response.metadata.feature_view_metadata.add(
                    name=part.output.view, version=part.output.version
                )
            for names, types, columns in zip(part.output.names, part.output.types, part.kept(), strict=True):
                for name, kind, column in zip(names, types, columns, strict=True):
                    make = values.to_proto(kind)
                    response.metadata.feature_names.val.append(name)
                    response.results.add(
                        values=[make(value) for value in column], statuses=statuses, event_timestamps=times
                    )
        return response


def _array(kind: row_table.Kind, column: list[Any]) -> NDArray[Any]:
    if kind in ("string", "bytes"):
        array = np.empty(len(column), np.object_)
        array[:] = column
        return array
    missing: Any = {"float32": np.nan, "float64": np.nan, "int64": 0, "bool": False}[kind]
    return np.array([missing if v is None else v for v in column], np.dtype(kind))
