"""Scores that were computed before: by the bundle and the very inputs of its plan, within a budget of memory.

The key is made after features were looked up and derived, so a fresh feature is another key and nothing stale is answered.
What is saved is the transform and the model, not the look-up. Off unless `serving.response_cache_bytes` says how much.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mainspring.serving.access import callers

#: What an entry takes beside its scores: key, array, links. Measured 286 bytes with scores of one row (CPython 3.11, NumPy 2),
#: the rest is for the allocator.
ENTRY_BYTES: Final = 384


@dataclass
class CacheCounts:
    """Since the process began."""

    hits: int = 0
    misses: int = 0
    evicted: int = 0


class ResponseCache:
    """The answers used last. Thread-safe."""

    def __init__(self, budget_bytes: int) -> None:
        """`budget_bytes`: what entries may take, as counted by ENTRY_BYTES and their scores."""
        self._budget = budget_bytes
        self._lock = threading.Lock()
        self._scores: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._bytes = 0
        self.counts: Final = CacheCounts()

    @property
    def held_bytes(self) -> int:
        return self._bytes

    def get(self, key: bytes) -> NDArray[np.float32] | None:
        """The scores (n,), which nobody may write to; None if they are not here."""
        with self._lock:
            found = self._scores.get(key)
            if found is None:
                self.counts.misses += 1
                return None
            self._scores.move_to_end(key)
            self.counts.hits += 1
            return found

    def put(self, key: bytes, scores: NDArray[np.float32]) -> None:
        """Keep a copy; what was used longest ago makes room. What is larger than the budget is not kept."""
        size = _size(scores)
        if size > self._budget:
            return
        kept = scores.copy()
        kept.flags.writeable = False
        with self._lock:
            if key in self._scores:  # two asked at the same time: the same inputs have the same scores
                return
            while self._bytes + size > self._budget:
                _, oldest = self._scores.popitem(last=False)
                self._bytes -= _size(oldest)
                self.counts.evicted += 1
            self._scores[key] = kept
            self._bytes += size


def key_of(bundle_digest: str, inputs: Mapping[str, NDArray[Any]], caller: callers.Caller) -> bytes:
    """What names an answer: the bundle, every input of its plan bit by bit, and what its caller may.

    Callers of different permissions or projects share nothing: how fast an answer comes would tell one of them what the
    others asked. Names, types and lengths go first, so that no two sets of inputs make the same text. Some 2 us a column.
    """
    head: list[object] = [bundle_digest, caller.project, sorted(caller.scopes)]
    parts: list[bytes] = [b""]
    for name in sorted(inputs):
        column = inputs[name]
        # repr tells None from "None", and writes surrogates that have no UTF-8.
        part = repr(column.tolist()).encode() if column.dtype == object else column.tobytes()
        head += (name, column.dtype.char, len(column), len(part))
        parts.append(part)
    parts[0] = repr(head).encode()
    return hashlib.blake2b(b"".join(parts), digest_size=32).digest()


def _size(scores: NDArray[np.float32]) -> int:
    return ENTRY_BYTES + scores.nbytes
