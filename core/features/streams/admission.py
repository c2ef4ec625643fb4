"""Which events of a partition count: not those from the future, not the late, and none twice.

The watermark of a partition is the newest event time that counted there. It and the ids are per partition, so that a
verdict depends on the order of events within their partition alone: reading again gives the same verdicts, however
partitions interleave and batches are cut. An event's repetition lands in its own partition, as its key does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mainspring.core.features.streams import kernels
from mainspring.core.features.streams.definition import StreamDefinition, microseconds

__all__ = ["Admission", "id_words"]

_FIRST_SLOTS: Final = 1024
_NO_IDS: Final = np.empty((0, 2), np.uint64)


class Admission:
    """The gate of one partition, and what it must remember. Not thread-safe.

    An id is remembered until its event would be late anyway, so memory holds the events of the allowed lateness; where
    those are more than `remembered_ids`, the older half is forgotten and the floor rises: what is older counts as late.
    """

    def __init__(self, stream: StreamDefinition) -> None:
        self._lateness_us = stream.lateness_us
        self._lead_us = microseconds(stream.allowed_lead)
        self._cap = stream.remembered_ids
        self._clock = np.array([-1, 0], np.int64)
        self._used = np.zeros(1, np.int64)
        self._clear(_FIRST_SLOTS)

    @property
    def watermark_us(self) -> int:
        """The newest event time that counted; -1 before the first."""
        return int(self._clock[0])

    @property
    def horizon_us(self) -> int:
        """No event before this will count any more."""
        return max(int(self._clock[1]), self.watermark_us - self._lateness_us, 0)

    def judge(
        self, event_us: NDArray[np.int64], taken_us: NDArray[np.int64], ids: NDArray[np.uint64] | None
    ) -> NDArray[np.uint8]:
        """A verdict of `kernels` for each event, in their order. Shapes: (n,); `ids` (n, 2) of `id_words`."""
        verdicts = np.zeros(len(event_us), np.uint8)
        place = 0
        while (place := self._judged(place, event_us, taken_us, ids, verdicts)) < len(event_us):
            self._make_room()
        return verdicts

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """All that it remembers, as copies."""
        return {"clock": self._clock.copy(), "ids": self._id_slots.copy(), "us": self._us_slots.copy()}

    @classmethod
    def from_arrays(cls, stream: StreamDefinition, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """The gate that `to_arrays` was of. It goes on exactly as that one would have."""
        self = cls(stream)
        self._clock = arrays["clock"].astype(np.int64)
        self._id_slots = arrays["ids"].astype(np.uint64)
        self._us_slots = arrays["us"].astype(np.int64)
        self._used[0] = np.count_nonzero(self._us_slots != kernels.EMPTY)
        return self

    def _judged(
        self,
        place: int,
        event_us: NDArray[np.int64],
        taken_us: NDArray[np.int64],
        ids: NDArray[np.uint64] | None,
        verdicts: NDArray[np.uint8],
    ) -> int:
        done: int = kernels.admit(
            place, event_us, taken_us, _NO_IDS if ids is None else ids, self._lateness_us, self._lead_us,
            self._clock, self._id_slots, self._us_slots, self._used, self._limit(), verdicts,
        )  # fmt: skip
        return done

    def _limit(self) -> int:
        return min(len(self._us_slots) // 2, self._cap)

    def _make_room(self) -> None:
        is_kept = (self._us_slots != kernels.EMPTY) & (self._us_slots >= self.horizon_us)
        ids, event_us = self._id_slots[is_kept], self._us_slots[is_kept]
        size = len(self._us_slots)
        if self._limit() < self._cap:
            size *= 2 if len(ids) > self._limit() // 2 else 1
        elif len(ids) > self._cap * 3 // 4:
            surplus = len(ids) - self._cap // 2
            newest_forgotten = int(np.partition(event_us, surplus - 1)[surplus - 1])
            self._clock[1] = newest_forgotten + 1
            is_kept = event_us > newest_forgotten
            ids, event_us = ids[is_kept], event_us[is_kept]
        self._clear(size)
        kernels.refill_ids(ids, event_us, self._id_slots, self._us_slots)
        self._used[0] = len(ids)

    def _clear(self, slots: int) -> None:
        self._id_slots = np.zeros((slots, 2), np.uint64)
        self._us_slots = np.full(slots, kernels.EMPTY, np.int64)


def id_words(ids: pa.Array) -> NDArray[np.uint64]:
    """(n, 2): int64 ids as they are; of strings 128 bits of BLAKE2b, so that no two of one memory will meet.

    Stable across processes and releases: what is remembered lies in snapshots.
    """
    if pa.types.is_integer(ids.type):
        words = np.zeros((len(ids), 2), np.uint64)
        words[:, 0] = ids.to_numpy().view(np.uint64)
        return words
    blake2b = hashlib.blake2b
    digests = b"".join([blake2b(text.encode(), digest_size=16).digest() for text in ids.to_pylist()])
    return np.frombuffer(digests, np.uint64).reshape(-1, 2)
