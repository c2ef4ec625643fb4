"""Where events come from: a broker's topic, or one in this process's memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from mainspring.core.features.streams.records import DeadLetter, Records, records

__all__ = ["MemoryTopic", "Topic"]


class Topic(Protocol):
    """One topic, its dead letters, and where its readers are. For one reader, in one thread.

    Errors of every method: DependencyDown while the broker does not answer, which is worth trying again; others are not.
    """

    def seek(self, next_offsets: Mapping[int, int]) -> None:
        """Read on from these offsets, and from the beginning of the partitions that are not among them.

        Errors: NotFound without such a topic; Conflict if events between have been deleted.
        """
        ...

    def poll(self, *, max_records: int, timeout_seconds: float) -> Records:
        """What has come, at least one record unless the time runs out. Per partition in order, none left out."""
        ...

    def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Keep dead letters; on return they are with the broker."""
        ...

    def commit(self, next_offsets: Mapping[int, int]) -> None:
        """Let the broker know how far the effects are durable: for those who watch. Nobody reads on from there."""
        ...

    def lag(self, next_offsets: Mapping[int, int]) -> dict[int, int]:
        """By partition, how many records lie behind these offsets, as was last seen; -1 where that is not known yet."""
        ...

    def problem(self) -> str:
        """What keeps the broker from answering right now; empty: nothing."""
        ...

    def close(self) -> None:
        """Let go of connections; twice is once."""
        ...


class MemoryTopic:
    """A topic without a broker: partitions in memory, gone with the process. `produce` is thread-safe."""

    def __init__(self, partitions: int = 1) -> None:
        self._come = threading.Condition()
        self._held: list[list[tuple[bytes | None, bytes | None, int]]] = [[] for _ in range(partitions)]
        self._at = dict.fromkeys(range(partitions), 0)
        self.dead: list[DeadLetter] = []
        self.committed: dict[int, int] = {}

    def produce(
        self,
        values: Sequence[bytes | None],
        *,
        partition: int = 0,
        key: bytes | None = None,
        timestamp_us: int | None = None,
    ) -> None:
        """Append events to a partition; `timestamp_us` None: the clock's."""
        now_us = time.time_ns() // 1000 if timestamp_us is None else timestamp_us
        with self._come:
            self._held[partition] += [(key, value, now_us) for value in values]
            self._come.notify_all()

    def seek(self, next_offsets: Mapping[int, int]) -> None:
        with self._come:
            self._at = {partition: next_offsets.get(partition, 0) for partition in range(len(self._held))}

    def poll(self, *, max_records: int, timeout_seconds: float) -> Records:
        with self._come:
            self._come.wait_for(self._has_more, timeout_seconds)
            parts = [self._taken(partition, max_records) for partition in range(len(self._held))]
        return Records(
            np.concatenate([part.partition for part in parts]),
            np.concatenate([part.offset for part in parts]),
            np.concatenate([part.timestamp_us for part in parts]),
            [key for part in parts for key in part.keys],
            [value for part in parts for value in part.values],
        )

    def bury(self, letters: Sequence[DeadLetter]) -> None:
        self.dead += letters

    def commit(self, next_offsets: Mapping[int, int]) -> None:
        self.committed = dict(next_offsets)

    def lag(self, next_offsets: Mapping[int, int]) -> dict[int, int]:
        with self._come:
            return {p: len(held) - next_offsets.get(p, 0) for p, held in enumerate(self._held)}

    def problem(self) -> str:
        return ""

    def close(self) -> None:
        pass

    def _has_more(self) -> bool:
        return any(self._at[p] < len(held) for p, held in enumerate(self._held))

    def _taken(self, partition: int, max_records: int) -> Records:
        """A fair share of the records of one partition."""
        begin = self._at[partition]
        some = self._held[partition][begin : begin + max(1, max_records // len(self._held))]
        self._at[partition] = begin + len(some)
        made = records(
            [value for _, value, _ in some],
            timestamp_us=[at for _, _, at in some],
            partition=partition,
            first_offset=begin,
        )
        return Records(
            made.partition, made.offset, made.timestamp_us, [key for key, _, _ in some], made.values
        )
