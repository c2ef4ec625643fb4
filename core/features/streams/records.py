"""What comes from a topic and what goes to its dead-letter topic, as columns of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

__all__ = ["DeadLetter", "Reason", "Records", "records"]

#: Why an event does not count. Duplicates are dropped without a letter: nothing of them is lost.
Reason = Literal["empty", "malformed", "schema_mismatch", "out_of_range", "ahead", "late"]


@dataclass(frozen=True)
class Records:
    """A batch as the broker has it; the offsets of each partition ascend.

    Shapes:  partition (n,) int32; offset and timestamp_us (n,) int64; keys and values n bytes, or None.
    Units:   timestamp_us is when the producer or the broker stamped the record, UTC microseconds.
    """

    partition: NDArray[np.int32]
    offset: NDArray[np.int64]
    timestamp_us: NDArray[np.int64]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, places: NDArray[np.intp]) -> Records:
        """The records at `places`, in that order."""
        at = places.tolist()
        return Records(
            self.partition[places],
            self.offset[places],
            self.timestamp_us[places],
            [self.keys[i] for i in at],
            [self.values[i] for i in at],
        )

    def dead(self, place: int, reason: Reason, message: str) -> DeadLetter:
        """The letter of the record at `place`."""
        return DeadLetter(
            int(self.partition[place]),
            int(self.offset[place]),
            int(self.timestamp_us[place]),
            self.keys[place],
            self.values[place],
            reason,
            message,
        )


@dataclass(frozen=True)
class DeadLetter:
    """An event that does not count, with its bytes as they came. (partition, offset) is its identity: the same letter
    may be sent twice after a crash."""

    partition: int
    offset: int
    timestamp_us: int
    key: bytes | None
    value: bytes | None
    reason: Reason
    message: str


def records(
    values: Sequence[bytes | None],
    *,
    timestamp_us: npt.ArrayLike,
    partition: npt.ArrayLike = 0,
    first_offset: int = 0,
) -> Records:
    """A batch of one's own: offsets count up from `first_offset`, keys are absent."""
    n = len(values)
    return Records(
        np.array(np.broadcast_to(np.asarray(partition, np.int32), n)),
        np.arange(first_offset, first_offset + n, dtype=np.int64),
        np.array(np.broadcast_to(np.asarray(timestamp_us, np.int64), n)),
        [None] * n,
        values,
    )
