"""All that a stream knows: per partition how far it was read and what it admits, per set of keys its tiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mainspring.core import errors
from mainspring.core.features.streams import forgetting, kernels
from mainspring.core.features.streams.admission import Admission, id_words
from mainspring.core.features.streams.decoding import Decoder, Events
from mainspring.core.features.streams.definition import StreamDefinition
from mainspring.core.features.streams.keys import KeySet, ViewRows
from mainspring.core.features.streams.records import DeadLetter, Reason, Records

__all__ = ["Applied", "Counts", "StreamState"]

_TOLD: Final[Mapping[int, tuple[Reason, str]]] = {
    kernels.LATE: (
        "late",
        "the event lies further behind the newest of its partition than the stream allows",
    ),
    kernels.AHEAD: ("ahead", "the event lies further after the record's own time than the stream allows"),
}


@dataclass
class Counts:
    """What became of records, since the state was made. `seen` = accepted + duplicate + dead + repeated."""

    seen: int = 0
    accepted: int = 0
    duplicate: int = 0
    """Events with an id that counted before."""
    dead: int = 0
    """Letters of any reason, late ones too."""
    late: int = 0
    repeated: int = 0
    """Records that the broker gave twice."""


@dataclass(frozen=True)
class Applied:
    """What a batch of records changed: rows to push, letters to send."""

    rows: list[ViewRows] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    closed: list[ViewRows] = field(default_factory=list)
    """Rows of hops that no event changes any more, if history is wanted."""


class StreamState:
    """Its answers are a function of the records of each partition in their order, and of nothing else: no clock, no batch
    border, no interleaving of partitions. That is what makes reading again after a crash end as if nothing had been.
    Who is erased (`forget`) is the one thing beside them: from then on it is as if no event had ever named him, but for what his
    events added to the sums of other keys.

    Not thread-safe. After an exception of `apply` the state is of no use: read again from the last snapshot.
    """

    def __init__(self, stream: StreamDefinition, *, has_history: bool = False) -> None:
        self.stream = stream
        self.has_history = has_history
        self.counts = Counts()
        self._erased: forgetting.Erased | None = None
        self._decoder = Decoder(stream)
        self._next: dict[int, int] = {}
        self._gates: dict[int, Admission] = {}
        self.key_sets = tuple(KeySet(stream, fields, has_history=has_history) for fields in stream.key_sets)

    @property
    def next_offsets(self) -> dict[int, int]:
        """By partition, the offset from which to read on."""
        return dict(self._next)

    @property
    def watermarks_us(self) -> dict[int, int]:
        """By partition, the newest event time that counted; -1 where none did."""
        return {partition: gate.watermark_us for partition, gate in self._gates.items()}

    def apply(self, batch: Records) -> Applied:
        """Take a batch in. Rows are of the keys that changed; records that were taken in before change nothing."""
        self.counts.seen += len(batch)
        batch = self._unread(batch)
        if not len(batch):
            return Applied()
        # As of before the batch: rows of its first events may need what its last ones leave behind.
        horizon_us = min(gate.horizon_us for gate in self._gates.values())
        events, dead = self._decoder.decode(batch)
        events, judged = self._admitted(batch, events)
        dead += judged
        self.counts.dead += len(dead)
        self.counts.accepted += len(events.place)
        events = self._of_nobody_erased(events)
        taken_us = batch.timestamp_us[events.place]
        rows: list[ViewRows] = []
        for keys in self.key_sets:
            rows += keys.rows(keys.add(events, taken_us, horizon_us=horizon_us))
        reached_us = min(gate.horizon_us for gate in self._gates.values())
        return Applied(rows, dead, [row for keys in self.key_sets for row in keys.close(reached_us)])

    def forget(self, erased: forgetting.Erased | None) -> int:
        """Keep nothing of these from now on, neither of what is there nor of what comes; how many keys that were."""
        self._erased = erased
        if erased is None:
            return 0

        def gone(field: str, value: Any) -> bool:
            return field in erased.columns and erased.is_erased(field, str(value))

        return sum(keys.forget(gone) for keys in self.key_sets)

    def newest_rows(self) -> list[ViewRows]:
        """The newest row of every key, as `apply` gave it: what an online store that lost its rows needs."""
        return [rows for keys in self.key_sets for rows in keys.newest_rows()]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All of the state, as copies: later batches do not change them."""
        arrays: dict[str, NDArray[Any]] = {
            "offsets": np.array(sorted(self._next.items()), np.int64).reshape(-1, 2),
            "counts": np.array(list(vars(self.counts).values()), np.int64),
        }
        for partition, gate in self._gates.items():
            arrays |= {f"gate.{partition}.{name}": array for name, array in gate.to_arrays().items()}
        for i, keys in enumerate(self.key_sets):
            arrays |= {f"keys.{i}.{name}": array for name, array in keys.to_arrays().items()}
        return arrays

    @classmethod
    def from_arrays(
        cls, stream: StreamDefinition, arrays: Mapping[str, NDArray[Any]], *, has_history: bool = False
    ) -> Self:
        """The state that `to_arrays` was of, for the same definition. It goes on exactly as that one would have.

        Errors: Conflict unless that one kept history as this one shall: rows of open hops would be lost.
        """
        if has_history != any(".open." in name for name in arrays):
            began = "without" if has_history else "with"
            raise errors.Conflict(
                f"the state of stream `{stream.name}` was begun {began} history; go on so, or move it away, and the topic"
                " is read from its beginning",
                resource="stream state",
                name=stream.name,
            )
        self = cls(stream, has_history=has_history)
        self._next = {int(partition): int(offset) for partition, offset in arrays["offsets"]}
        self.counts = Counts(*map(int, arrays["counts"]))
        for partition in self._next:
            self._gates[partition] = Admission.from_arrays(stream, _below(arrays, f"gate.{partition}."))
        for i, keys in enumerate(self.key_sets):
            keys.restore(_below(arrays, f"keys.{i}."))
        return self

    def _unread(self, batch: Records) -> Records:
        """Without records below the offsets that were taken in; those above move the offsets on."""
        is_new = np.ones(len(batch), np.bool_)
        for partition in np.unique(batch.partition).tolist():
            mine = batch.partition == partition
            begun = self._next.get(partition, 0)
            is_new &= ~mine | (batch.offset >= begun)
            self._next[partition] = max(begun, int(batch.offset[mine].max()) + 1)
            if partition not in self._gates:
                self._gates[partition] = Admission(self.stream)
        if is_new.all():
            return batch
        self.counts.repeated += len(batch) - int(is_new.sum())
        return batch.take(np.flatnonzero(is_new))

    def _of_nobody_erased(self, events: Events) -> Events:
        """They count where records are counted, so that a replay is told from new events; but nothing of them is kept."""
        named = self._erased.columns & set(events.columns) if self._erased is not None else ()
        if self._erased is None or not named or not len(events.place):
            return events
        columns = {name: events.columns[name].to_pylist() for name in named}
        gone = self._erased.rows(columns, len(events.place))
        return _kept(events, ~gone) if gone.any() else events

    def _admitted(self, batch: Records, events: Events) -> tuple[Events, list[DeadLetter]]:
        """The events that count, and letters for those that are late or ahead."""
        partition, taken_us = batch.partition[events.place], batch.timestamp_us[events.place]
        ids = None if self.stream.event_id is None else id_words(events.columns[self.stream.event_id])
        verdicts = np.empty(len(partition), np.uint8)
        for number in np.unique(partition).tolist():
            mine = np.flatnonzero(partition == number)
            verdicts[mine] = self._gates[number].judge(
                events.event_us[mine], taken_us[mine], None if ids is None else ids[mine]
            )
        is_accepted = verdicts == kernels.ACCEPTED
        if is_accepted.all():
            return events, []
        self.counts.duplicate += int((verdicts == kernels.DUPLICATE).sum())
        self.counts.late += int((verdicts == kernels.LATE).sum())
        dead = [
            batch.dead(int(events.place[i]), *_TOLD[int(verdicts[i])])
            for i in np.flatnonzero((verdicts == kernels.LATE) | (verdicts == kernels.AHEAD))
        ]
        return _kept(events, is_accepted), dead


def _kept(events: Events, which: NDArray[np.bool_]) -> Events:
    kept = pa.array(which)
    columns = {name: column.filter(kept) for name, column in events.columns.items()}
    return Events(events.place[which], events.event_us[which], columns)


def _below(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
