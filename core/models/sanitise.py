"""What a caller's values may be, as the bundle declares it: missing, infinite, outside of what training saw."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from mainspring.core import errors
from mainspring.core.contracts import inputs, masking
from mainspring.core.models import bundle

_LOG: Final = logging.getLogger("mainspring.models")

#: One line in the log a column and bundle in so long; the metric counts all.
_LOG_SECONDS: Final = 60.0

Columns: TypeAlias = Mapping[str, NDArray[Any]]
Place: TypeAlias = Callable[[str, int], str]


def policy_of(opened: bundle.Bundle) -> inputs.InputPolicy:
    """What a verified bundle declares, the default if nothing.

    Errors: CorruptArtifact for a policy that this version cannot read: it may refuse what we would accept.
    """
    if inputs.FILE not in opened.manifest.files:
        return inputs.InputPolicy()
    try:
        return inputs.InputPolicy.model_validate_json(opened.read(inputs.FILE))
    except ValidationError as error:
        raise errors.CorruptArtifact(
            f"`{inputs.FILE}` of bundle `{opened.digest}` is not understood:"
            f" {error.errors()[0]['msg']}; build the bundle anew, or run a newer release",
            artifact=opened.digest,
            expected="an input policy",
            got=inputs.FILE,
        ) from error


class Sanitiser:
    """Applies policies and counts what it found, by bundle, column and what was done. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._said: dict[tuple[str, str], float] = {}

    def apply(self, digest: str, policy: inputs.InputPolicy, columns: Columns, place: Place) -> Columns:
        """The columns a caller sent, each (n,), as bundle `digest` wants them; those that need no change are the same arrays.

        `place` words where row i of a column was sent. NaN and None are missing; a missing value is in no range.
        Errors: InvalidRequest naming the first value that is refused.
        """
        changed = {}
        for name, column in columns.items():
            fixed = (
                self._infinities(digest, policy, name, column, place) if column.dtype.kind == "f" else column
            )
            declared = policy.columns.get(name)
            if declared is not None:
                if declared.missing == "refuse":
                    _refuse_missing(fixed, place, name)
                if column.dtype.kind in "fi":
                    fixed = self._in_range(digest, declared, name, fixed, place)
            if fixed is not column:
                changed[name] = fixed
        return {**columns, **changed} if changed else columns

    def counts(self) -> dict[tuple[str, str, str], int]:
        """Values by bundle, column and what was done: `warn`, `clip`, `refuse`, `missing`."""
        with self._lock:
            return dict(self._counts)

    def _infinities(
        self, digest: str, policy: inputs.InputPolicy, name: str, column: NDArray[Any], place: Place
    ) -> NDArray[Any]:
        infinite = np.isinf(column)
        if not infinite.any():
            return column
        if policy.infinite == "refuse":
            self._count(digest, name, "refuse", 1)
            where = place(name, int(infinite.argmax()))
            raise errors.InvalidRequest(
                f"`{where}` is infinite; send a number, or NaN or null for a missing one", field=where
            )
        self._count(digest, name, "missing", int(infinite.sum()))
        return np.where(infinite, column.dtype.type(np.nan), column)

    def _in_range(
        self, digest: str, declared: inputs.ColumnPolicy, name: str, column: NDArray[Any], place: Place
    ) -> NDArray[Any]:
        action = declared.out_of_range
        if action == "accept" or (declared.low is None and declared.high is None):
            return column
        low = -math.inf if declared.low is None else declared.low
        high = math.inf if declared.high is None else declared.high
        outside = (column < low) | (column > high)  # false for NaN
        if not outside.any():
            return column
        at = int(outside.argmax())
        if declared.is_pii or declared.classification in masking.CLASSES:
            # Callers and readers of logs are told neither somebody's value nor training's extremes, which are somebody's.
            found = f"`{place(name, at)}` is outside of what training saw"
        else:
            found = f"`{place(name, at)}` is {column[at]:g}, training saw {low:g} to {high:g}"
        self._count(digest, name, action, 1 if action == "refuse" else int(outside.sum()))
        if action == "refuse":
            raise errors.InvalidRequest(f"{found}; correct the value or its unit", field=place(name, at))
        self._say(digest, name, found, action)
        return _clipped(column, low, high) if action == "clip" else column

    def _count(self, digest: str, name: str, action: str, values: int) -> None:
        with self._lock:
            self._counts[digest, name, action] += values

    def _say(self, digest: str, name: str, found: str, action: str) -> None:
        now = self._clock()
        with self._lock:
            if now < self._said.get((digest, name), -math.inf) + _LOG_SECONDS:
                return
            self._said[digest, name] = now
        done = "is clipped" if action == "clip" else "is taken as it is"
        _LOG.warning("%s; it %s (bundle %s)", found, done, digest)


def _clipped(column: NDArray[Any], low: float, high: float) -> NDArray[Any]:
    clipped: NDArray[Any]
    if column.dtype.kind == "i":
        limits = np.iinfo(column.dtype)
        # The nearest whole numbers within; as ints, because a float64 has not every int64.
        bottom = limits.min if low == -math.inf else max(limits.min, math.ceil(low))
        top = limits.max if high == math.inf else min(limits.max, math.floor(high))
        clipped = np.clip(column, bottom, top)
    else:
        clipped = np.clip(column, column.dtype.type(low), column.dtype.type(high))
    return clipped


def _refuse_missing(column: NDArray[Any], place: Place, name: str) -> None:
    if column.dtype.kind == "f":
        missing = np.isnan(column)
    elif column.dtype == object:
        missing = np.array([value is None or value == "" for value in column.tolist()], np.bool_)
    else:
        return
    if missing.any():
        where = place(name, int(missing.argmax()))
        raise errors.InvalidRequest(f"`{where}` is missing, the model needs it; send a value", field=where)
