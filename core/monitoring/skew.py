"""Whether what was served is what training would have seen: the same rows from both worlds, compared to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors
from mainspring.core.contracts import base

__all__ = ["FeatureSkew", "SkewReport", "compare"]

#: Rows named for each feature: enough to look at.
_EXAMPLES: Final = 3


class FeatureSkew(base.Message):
    """One feature over all compared rows: `equal + mismatched + missing + extra` is how many, unless there is an `error`."""

    name: str
    equal: int = 0
    """The same bits, or no value on either side."""
    mismatched: int = 0
    """A value on both sides, another one."""
    missing: int = 0
    """Offline has a value, what was served had none."""
    extra: int = 0
    """What was served had a value, offline has none: the future, or a row past its age, was served."""
    error: str = ""
    """Why the columns cannot be compared; the counts are then 0."""
    examples: tuple[int, ...] = ()
    """The first rows that differ."""

    @property
    def is_skewed(self) -> bool:
        return bool(self.error) or self.mismatched + self.missing + self.extra > 0


class SkewReport(base.Message):
    """Every feature, in the order of the offline side, then those that only were served."""

    rows: int
    features: tuple[FeatureSkew, ...]

    @property
    def skewed(self) -> tuple[FeatureSkew, ...]:
        return tuple(f for f in self.features if f.is_skewed)

    @property
    def compared_values(self) -> int:
        return sum(f.equal + f.mismatched + f.missing + f.extra for f in self.features)

    @property
    def skewed_values(self) -> int:
        return sum(f.mismatched + f.missing + f.extra for f in self.features)


def compare(served: Mapping[str, NDArray[Any]], offline: Mapping[str, NDArray[Any]]) -> SkewReport:
    """Row i of `served` against row i of `offline`, feature by feature.

    Shapes:  every column (n,); floats, integers, bools, or objects that are str or None.
    Missing: NaN and None. Bits decide otherwise: -0.0 is not 0.0, and float32 is not float64 (an `error`).
    Errors:  SchemaMismatch if the columns differ in length, InvalidRequest without any offline column: nothing would
             have been compared.
    """
    if not offline:
        raise errors.InvalidRequest(
            "no offline feature to compare with; join the served keys offline first", field="offline"
        )
    rows = len(next(iter(offline.values())))
    for side in (served, offline):
        for name, column in side.items():
            if column.shape != (rows,):
                raise errors.SchemaMismatch(
                    f"feature `{name}` has shape {column.shape}, others have {rows} rows; send one value a row",
                    feature=name,
                    expected=f"({rows},)",
                    got=str(column.shape),
                )
    found = [
        FeatureSkew(name=name, error="was not served")
        if name not in served
        else _compare(name, served[name], column)
        for name, column in offline.items()
    ]
    found += [FeatureSkew(name=name, error="is not known offline") for name in served if name not in offline]
    return SkewReport(rows=rows, features=tuple(found))


def _compare(name: str, served: NDArray[Any], offline: NDArray[Any]) -> FeatureSkew:
    if served.dtype != offline.dtype:
        return FeatureSkew(name=name, error=f"is {served.dtype} as served and {offline.dtype} offline")
    is_served, is_offline = _is_there(served), _is_there(offline)
    both = is_served & is_offline
    other = both & ~_is_same(served, offline)
    missing, extra = is_offline & ~is_served, is_served & ~is_offline
    differs = other | missing | extra
    return FeatureSkew(
        name=name,
        equal=int((~differs).sum()),
        mismatched=int(other.sum()),
        missing=int(missing.sum()),
        extra=int(extra.sum()),
        examples=tuple(np.flatnonzero(differs)[:_EXAMPLES].tolist()),
    )


def _is_there(column: NDArray[Any]) -> NDArray[np.bool_]:
    if column.dtype.kind == "f":
        return np.array(~np.isnan(column), np.bool_)
    if column.dtype.kind == "O":
        return np.array([value is not None and value == value for value in column], np.bool_)
    return np.full(len(column), True)


def _is_same(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    if a.dtype.kind == "f":
        bits = f"u{a.dtype.itemsize}"
        same: NDArray[np.bool_] = np.ascontiguousarray(a).view(bits) == np.ascontiguousarray(b).view(bits)
        return same
    return np.array(a == b, np.bool_)
