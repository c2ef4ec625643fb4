"""The keys of some views and what is kept for each: a number, its newest times, and its tiles."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mainspring.core.features.streams import forgetting, kernels
from mainspring.core.features.streams.decoding import Events
from mainspring.core.features.streams.definition import StreamDefinition, WindowedView
from mainspring.core.features.streams.open_hops import OpenHops
from mainspring.core.features.streams.tiles import Lanes, Tiles

__all__ = ["KeySet", "ViewRows"]

_FIRST_KEYS: Final = 256


@dataclass(frozen=True)
class ViewRows:
    """New newest rows of a view, as `OnlineFeatures.upsert` takes them. `columns`: float32, NaN where null."""

    view: str
    keys: dict[str, list[Any]]
    event_us: NDArray[np.int64]
    created_us: NDArray[np.int64]
    columns: dict[str, NDArray[np.float32]]

    def __len__(self) -> int:
        return len(self.event_us)

    def without(self, gone: NDArray[np.bool_]) -> ViewRows:
        """The rows that are not `gone`, (n,)."""
        stays = ~gone
        return ViewRows(
            self.view,
            {
                name: [v for v, is_gone in zip(values, gone, strict=True) if not is_gone]
                for name, values in self.keys.items()
            },
            self.event_us[stays],
            self.created_us[stays],
            {name: values[stays] for name, values in self.columns.items()},
        )


class KeySet:
    """All views of a stream with the same key fields, over one set of tiles. Not thread-safe.

    `has_history`: the rows of all hops are wanted once they are closed, and not the newest alone.
    """

    def __init__(self, stream: StreamDefinition, fields: Sequence[str], *, has_history: bool = False) -> None:
        self.fields = tuple(fields)
        self._views = [view for view in stream.views if view.keys == self.fields]
        self._tiles_of = {view.name: stream.tiles_of(view) for view in self._views}
        self._types = stream.types
        self._hop_us = stream.hop_us
        self._lanes = Lanes([a for view in self._views for a in view.aggregates])
        self.longest = max(self._tiles_of.values())
        self._tiles = Tiles(self._lanes, self.longest)
        self._open = OpenHops() if has_history else None
        self._numbers: dict[Any, int] = {}
        self._names: list[Any] = []
        self._newest_us = np.full(_FIRST_KEYS, -1, np.int64)
        self._created_us = np.zeros(_FIRST_KEYS, np.int64)
        #: By view, what was last given of each key.
        self._given = {
            view.name: np.full((_FIRST_KEYS, len(view.aggregates)), np.nan, np.float32)
            for view in self._views
        }

    def __len__(self) -> int:
        return len(self._names)

    @property
    def n_tiles(self) -> int:
        """Tiles in memory, of all levels."""
        return len(self._tiles)

    def add(self, events: Events, taken_us: NDArray[np.int64], *, horizon_us: int) -> NDArray[np.int64]:
        """Add events to their tiles; the numbers of the keys that have changed, ascending.

        Events with a null key are no events of these views. No event before `horizon_us` will come any more.
        """
        if len(self._names) + len(taken_us) > len(self._newest_us):
            self._forget(horizon_us - self.longest * self._hop_us)
        numbers, has_key = self._numbered(events.columns)
        if not has_key.all():
            kept = pa.array(has_key)
            columns = {name: column.filter(kept) for name, column in events.columns.items()}
            events = Events(events.place[has_key], events.event_us[has_key], columns)
            taken_us = taken_us[has_key]
        if not len(numbers):
            return numbers
        lanes = self._lanes.of_events(events.columns, events.event_us)
        hops = self._tile(events.event_us)
        self._tiles.add(numbers, hops, lanes, horizon=horizon_us // self._hop_us - self.longest)
        if self._open is not None:
            self._open.add(numbers, hops)
            self._reopen(self._open, numbers, hops)
        np.maximum.at(self._newest_us, numbers, events.event_us)
        np.maximum.at(self._created_us, numbers, taken_us)
        changed = np.zeros(len(self._names), np.bool_)
        changed[numbers] = True
        return np.flatnonzero(changed).astype(np.int64)

    def rows(self, numbers: NDArray[np.int64]) -> list[ViewRows]:
        """The newest row of these keys in every view: as of the last hop in which the key has an event."""
        last = self._tile(self._newest_us[numbers])
        for view in self._views:
            values = self.values(view, numbers, last)
            self._given[view.name][numbers] = np.column_stack([values[a.name] for a in view.aggregates])
        return self._rows_given(numbers)

    def close(self, horizon_us: int) -> list[ViewRows]:
        """The rows of every view for hops that no event before `horizon_us` can change, if history is wanted."""
        made: list[ViewRows] = []
        # An event at the horizon itself may come, and belongs to the hop that ends there.
        for hop, numbers in self._open.close(-(-horizon_us // self._hop_us)) if self._open else ():
            keys, at = self._keys_of(numbers), np.full(len(numbers), hop * self._hop_us)
            last = np.full(len(numbers), hop)
            for view in self._views:
                made.append(ViewRows(view.name, keys, at, at, self.values(view, numbers, last)))
        return made

    def newest_rows(self) -> list[ViewRows]:
        """The rows that were last given of every key that is remembered."""
        return self._rows_given(np.arange(len(self._names), dtype=np.int64))

    def values(
        self, view: WindowedView, numbers: NDArray[np.int64], last: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float32]]:
        """The aggregates of `view` over the window that ends with the tiles `last`."""
        merged = self._tiles.windows(numbers, last, self._tiles_of[view.name])
        return {
            a.name: self._lanes.result(a, merged, is_float=self._types.get(a.column) == "float64")
            for a in view.aggregates
        }

    def number_of(self, key: Any) -> int | None:
        """A key's number: a value, or a tuple of them for several fields."""
        return self._numbers.get(key)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All that is kept, as copies."""
        n = len(self._names)
        return {f"tiles.{name}": array for name, array in self._tiles.to_arrays().items()} | {
            "names": np.frombuffer(json.dumps(self._names).encode(), np.uint8),
            "newest": self._newest_us[:n].copy(),
            "created": self._created_us[:n].copy(),
            **{f"given.{name}": given[:n].copy() for name, given in self._given.items()},
            **{
                f"open.{name}": array
                for name, array in (self._open.to_arrays() if self._open else {}).items()
            },
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take the place of the key set that `to_arrays` was of."""
        self._tiles.restore({k[6:]: array for k, array in arrays.items() if k.startswith("tiles.")})
        names = json.loads(arrays["names"].tobytes())
        self._names = names if len(self.fields) == 1 else [tuple(name) for name in names]
        self._numbers = {name: number for number, name in enumerate(self._names)}
        self._newest_us, self._created_us = arrays["newest"].copy(), arrays["created"].copy()
        self._given = {view.name: arrays[f"given.{view.name}"].copy() for view in self._views}
        if self._open is not None:
            self._open.restore({k[5:]: array for k, array in arrays.items() if k.startswith("open.")})

    def forget(self, gone: forgetting.Gone) -> int:
        """Let go of keys and all that is kept for them; how many those were."""
        stays = forgetting.staying(self._names, self.fields, gone)
        if not stays.all():
            self.restore(forgetting.without(self.to_arrays(), stays))
        return int((~stays).sum())

    def _reopen(self, opened: OpenHops, numbers: NDArray[np.int64], hops: NDArray[np.int64]) -> None:
        """Events of closed hops change the rows of later ones too, which were given: they are given once more."""
        is_late = hops < opened.closed_to
        if not is_late.any():
            return
        first = np.full(len(self._names), np.iinfo(np.int64).max)
        np.minimum.at(first, numbers[is_late], hops[is_late])
        keys, there = self._tiles.finest()
        is_changed = (there > first[keys]) & (there < opened.closed_to)
        opened.add(keys[is_changed], there[is_changed])

    def _rows_given(self, numbers: NDArray[np.int64]) -> list[ViewRows]:
        if not len(numbers):
            return []
        keys = self._keys_of(numbers)
        newest_us, created_us = self._newest_us[numbers], self._created_us[numbers]
        made = []
        for view in self._views:
            given = self._given[view.name][numbers]
            columns = {a.name: np.ascontiguousarray(given[:, j]) for j, a in enumerate(view.aggregates)}
            made.append(ViewRows(view.name, keys, newest_us, created_us, columns))
        return made

    def _keys_of(self, numbers: NDArray[np.int64]) -> dict[str, list[Any]]:
        names = [self._names[n] for n in numbers.tolist()]
        parts = [names] if len(self.fields) == 1 else map(list, zip(*names, strict=True))
        return dict(zip(self.fields, parts, strict=True))

    def _forget(self, before_us: int) -> None:
        """Let go of keys whose newest event lies before `before_us`: their rows have aged out, their tiles count no more."""
        n = len(self._names)
        is_kept = self._newest_us[:n] >= before_us
        if is_kept.sum() > n // 2:
            return
        numbers = np.where(is_kept, np.cumsum(is_kept) - 1, kernels.EMPTY)
        self._tiles.renumber(numbers)
        if self._open is not None:
            self._open.renumber(numbers)
        kept = np.flatnonzero(is_kept)
        self._names = [self._names[i] for i in kept.tolist()]
        self._numbers = {name: number for number, name in enumerate(self._names)}
        room = max(_FIRST_KEYS, 2 * len(kept)) - len(kept)
        self._newest_us, self._created_us = self._newest_us[kept], self._created_us[kept]
        self._given = {name: given[kept] for name, given in self._given.items()}
        self._make_room(room)

    def _make_room(self, more: int) -> None:
        self._newest_us = np.concatenate([self._newest_us, np.full(more, -1, np.int64)])
        self._created_us = np.concatenate([self._created_us, np.zeros(more, np.int64)])
        for name, given in self._given.items():
            empty = np.full((more, given.shape[1]), np.nan, np.float32)
            self._given[name] = np.concatenate([given, empty])

    def _tile(self, event_us: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of the hop that an instant counts in: an instant on a boundary belongs to the hop that ends there."""
        return -(-event_us // self._hop_us)

    def _numbered(self, columns: Mapping[str, pa.Array]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Each event's key number (of those that have a key), and which have one."""
        parts = [columns[name] for name in self.fields]
        has_key = np.logical_and.reduce([np.asarray(part.is_valid()) for part in parts])
        if not has_key.all():
            parts = [part.filter(pa.array(has_key)) for part in parts]
        encoded = [part.dictionary_encode() for part in parts]
        values = [part.dictionary.to_pylist() for part in encoded]
        codes = encoded[0].indices.to_numpy().astype(np.int64)
        for part, texts in zip(encoded[1:], values[1:], strict=True):
            codes = codes * max(len(texts), 1) + part.indices.to_numpy()
        if len(parts) == 1:
            names: list[Any] = values[0]
            place = codes
        else:
            unique, place = np.unique(codes, return_inverse=True)
            at = []
            for texts in values[:0:-1]:
                unique, code = np.divmod(unique, max(len(texts), 1))
                at.append([texts[i] for i in code.tolist()])
            at.append([values[0][i] for i in unique.tolist()])
            names = list(zip(*at[::-1], strict=True))
        return self._number_all(names)[place], has_key

    def _number_all(self, names: list[Any]) -> NDArray[np.int64]:
        known = self._numbers
        for name in names:
            if name not in known:
                known[name] = len(self._names)
                self._names.append(name)
        if len(self._names) > len(self._newest_us):
            self._make_room(len(self._names))  # at least doubled
        return np.array([known[name] for name in names], np.int64)
