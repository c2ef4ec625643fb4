"""Formulas over columns, declared once: NumPy computes them offline and online, and the native front without Python.

A formula is whole (int64, which wraps) or real (float64, NaN for missing). What IEEE 754 and whole numbers define exactly is
there and nothing else, so that everyone gets the same bits: sines are tables of their values.

    >>> import numpy as np
    >>> departure, miles = whole("departure_us"), real("miles")
    >>> local = local_minutes(departure, "America/New_York")
    >>> steps = Steps([local % 1440, miles / 8.0])
    >>> minute, block = steps.run({"departure_us": np.array([0]), "miles": np.array([200.0])})
    >>> (minute.tolist(), block.tolist())
    ([1140], [25.0])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors
from mainspring.native import formulas as native

__all__ = ["Formula", "Steps", "entry", "is_below", "local_minutes", "ratio", "real", "whole", "year"]

_MINUTE_US: Final = 60_000_000
_HOUR_US: Final = 3_600_000_000
#: Hours of UTC that the native front knows clocks of: 1970 to 2099. Other times are Python's.
_CLOCK_HOURS: Final = (0, 130 * 365 * 24 + 32 * 24)

_WHOLE: Final = frozenset(
    {"whole_column", "whole_number", "add_whole", "subtract_whole", "floor_divide", "modulo"}
)


class Formula:
    """One step and the steps that it takes. Immutable; the same object is computed once."""

    __slots__ = ("is_whole", "name", "number", "op", "table", "takes", "zone")

    def __init__(
        self,
        op: str,
        *takes: Formula,
        name: str = "",
        number: float = 0,
        table: tuple[float, ...] = (),
        zone: str = "",
    ) -> None:
        self.op, self.takes, self.name, self.number, self.table, self.zone = (
            op,
            takes,
            name,
            number,
            table,
            zone,
        )
        self.is_whole: Final = op in _WHOLE or op in ("local_minutes", "year")

    def __add__(self, other: Formula | float) -> Formula:
        return self._both("add", other)

    def __sub__(self, other: Formula | float) -> Formula:
        return self._both("subtract", other)

    def __mul__(self, other: Formula | float) -> Formula:
        """Real."""
        return Formula("multiply", _real(self), _real(_lifted(other)))

    def __truediv__(self, other: Formula | float) -> Formula:
        """Real, of whole numbers, too."""
        return Formula("divide", _real(self), _real(_lifted(other)))

    def __floordiv__(self, by: int) -> Formula:
        return Formula("floor_divide", _whole(self), number=_divisor(by))

    def __mod__(self, by: int) -> Formula:
        """From 0 up."""
        return Formula("modulo", _whole(self), number=_divisor(by))

    def _both(self, op: str, other: Formula | float) -> Formula:
        given = _lifted(other)
        if self.is_whole and given.is_whole:
            return Formula(f"{op}_whole", self, given)
        return Formula(op, _real(self), _real(given))


def whole(name: str) -> Formula:
    """An int64 column."""
    return Formula("whole_column", name=name)


def real(name: str) -> Formula:
    """A float32 or float64 column, NaN for missing."""
    return Formula("real_column", name=name)


def ratio(a: Formula, b: Formula) -> Formula:
    """a / b where b is above 0, else missing."""
    return Formula("ratio", _real(a), _real(b))


def is_below(a: Formula, b: Formula | float) -> Formula:
    """1 where a is below b, else 0; missing where one of them is."""
    return Formula("is_below", _real(a), _real(_lifted(b)))


def local_minutes(utc_us: Formula, zone: str) -> Formula:
    """Minutes since 1970 on the zone's clock, whose offset changes on whole hours of UTC."""
    ZoneInfo(zone)
    return Formula("local_minutes", _whole(utc_us), zone=zone)


def year(utc_us: Formula) -> Formula:
    """The calendar's year of UTC microseconds."""
    return Formula("year", _whole(utc_us))


def entry(table: Sequence[float], at: Formula) -> Formula:
    """The table's value there, as if it went on and on; of a real without its fraction, and missing where it is not finite."""
    if not table:
        raise errors.InvalidRequest("a table has no entry; give it one at least", field="table")
    return Formula("entry" if at.is_whole else "real_entry", at, table=tuple(float(x) for x in table))


class Steps:
    """What some formulas take to compute, each once, in an order in which that can be done. Immutable, thread-safe."""

    def __init__(self, results: Sequence[Formula]) -> None:
        self._steps: list[Formula] = []
        self._places: dict[Formula, int] = {}
        self.results: Final = tuple(self._place(formula) for formula in results)
        #: Columns that are read, by name, each `whole` or `real`.
        self.inputs: Final[Mapping[str, str]] = _inputs(self._steps)
        self._tables = {step: np.array(step.table) for step in self._steps if step.table}

    def _place(self, formula: Formula) -> int:
        if formula not in self._places:
            for taken in formula.takes:
                self._place(taken)
            self._places[formula] = len(self._steps)
            self._steps.append(formula)
        return self._places[formula]

    # Infinities in are infinities or NaN out, and not a matter for warnings.
    @np.errstate(all="ignore")
    def run(self, columns: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """A column (n_rows,) of int64 or float64 for each result; `columns` are of int64 and float64, as `inputs` says."""
        n_rows = len(next(iter(columns.values()), ()))
        made: list[NDArray[Any]] = []
        for step in self._steps:
            if step.op in ("whole_column", "real_column"):
                made.append(columns[step.name])
            elif step.op in ("whole_number", "real_number"):
                made.append(np.full(n_rows, step.number, np.int64 if step.is_whole else np.float64))
            else:
                made.append(self._computed(step, [made[self._places[taken]] for taken in step.takes]))
        return [made[place] for place in self.results]

    def _computed(self, step: Formula, given: list[NDArray[Any]]) -> NDArray[Any]:
        if step.op in _BY_NUMBER:
            return _BY_NUMBER[step.op](given[0], np.int64(step.number))
        if step.op == "local_minutes":
            return _local_minutes(given[0], step.zone)
        if step.op in ("entry", "real_entry"):
            return _entries(self._tables[step], given[0])
        return _OF[step.op](*given)

    def compiled(self, outputs: Sequence[tuple[str, str]]) -> native.Formulas:
        """The same without Python; a name and dtype for each result."""
        named = [(name, dtype, place) for (name, dtype), place in zip(outputs, self.results, strict=True)]
        places = {name: i for i, name in enumerate(self.inputs)}
        return native.Formulas(
            list(self.inputs.items()), [self._compiled(s, places) for s in self._steps], named
        )

    def _compiled(self, step: Formula, inputs: Mapping[str, int]) -> native.Step:
        places = [self._places[one] for one in step.takes]
        if step.name:
            places = [inputs[step.name]]
        a, b, *_ = (*places, -1, -1)
        return native.Step(
            step.op,
            a,
            b,
            real=float(step.number),
            whole=int(step.number) if step.is_whole else 0,
            table=step.table,
            clock=_clock(step.zone) if step.zone else None,
        )

    def reads(self, result: int) -> tuple[str, ...]:
        """The columns that a result is computed from."""
        names, waiting = set[str](), [self._steps[self.results[result]]]
        while waiting:
            formula = waiting.pop()
            names.add(formula.name)
            waiting.extend(formula.takes)
        return tuple(name for name in self.inputs if name in names)


def _inputs(steps: Iterable[Formula]) -> dict[str, str]:
    inputs: dict[str, str] = {}
    for step in steps:
        if step.name:
            kind = "whole" if step.is_whole else "real"
            if inputs.setdefault(step.name, kind) != kind:
                raise errors.InvalidRequest(
                    f"column `{step.name}` is read as a whole and as a real one; choose one of them",
                    field=step.name,
                )
    return inputs


def _lifted(other: Formula | float) -> Formula:
    if isinstance(other, Formula):
        return other
    return Formula("whole_number" if isinstance(other, int) else "real_number", number=other)


def _real(of: Formula) -> Formula:
    if of.op == "whole_number":
        return Formula("real_number", number=float(of.number))
    return Formula("widen", of) if of.is_whole else of


def _whole(of: Formula) -> Formula:
    if not of.is_whole:
        raise errors.InvalidRequest(
            f"`{of.op}` is real, a whole formula is expected; use `/`", field=of.name or of.op
        )
    return of


def _divisor(by: int) -> int:
    if not isinstance(by, int) or by <= 0:
        raise errors.InvalidRequest(f"the divisor is {by}, expected a whole number above 0", field="divisor")
    return by


def _year(utc_us: NDArray[np.int64]) -> NDArray[np.int64]:
    return utc_us.astype("datetime64[us]").astype("datetime64[Y]").astype(np.int64) + 1970


def _ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    made: NDArray[np.float64] = np.divide(a, b, out=np.full(len(b), np.nan), where=b > 0)
    return made


def _is_below(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    below: NDArray[np.float64] = np.where(np.isnan(a) | np.isnan(b), np.nan, a < b)
    return below


def _entries(table: NDArray[np.float64], at: NDArray[Any]) -> NDArray[Any]:
    size = len(table)
    if at.dtype == np.int64:
        found: NDArray[Any] = table[np.mod(at, size)]
        return found
    # The remainder first: a float beyond int64 has no defined cast. It may round to the size, hence the second one.
    is_finite = np.isfinite(at)
    places = np.mod(np.where(is_finite, at, 0.0), float(size)).astype(np.int64) % size
    return np.where(is_finite, table[places], np.nan)


def _local_minutes(utc_us: NDArray[np.int64], zone: str) -> NDArray[np.int64]:
    hours, inverse = np.unique(utc_us // _HOUR_US, return_inverse=True)
    offsets = np.array([_offset_minutes(zone, hour) for hour in hours.tolist()], np.int64)
    return utc_us // _MINUTE_US + (offsets[inverse] if len(hours) else 0)


@lru_cache(maxsize=1 << 16)
def _offset_minutes(zone: str, utc_hour: int) -> int:
    try:
        at = datetime.fromtimestamp(utc_hour * 3600, UTC)
        offset = at.astimezone(ZoneInfo(zone)).utcoffset()
    except (ValueError, OverflowError, OSError):
        return 0  # a time no calendar has: the row gets some clock rather than the batch an error
    return 0 if offset is None else int(offset.total_seconds()) // 60


@lru_cache(maxsize=16)
def _clock(zone: str) -> native.Clock:
    """The zone's changes, to the hour. Some 0.1 s, once."""
    begin, end = _CLOCK_HOURS
    hours, minutes = [begin], [_offset_minutes(zone, begin)]
    for day in range(begin, end, 24):
        low, high = day, min(day + 24, end - 1)
        changed = _offset_minutes(zone, high)
        if changed == minutes[-1]:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if _offset_minutes(zone, middle) == changed else (middle, high)
        hours.append(high)
        minutes.append(changed)
    return native.Clock(tuple(hours), tuple(minutes), end)


_BY_NUMBER: Final[Mapping[str, Callable[..., NDArray[Any]]]] = {
    "floor_divide": np.floor_divide,
    "modulo": np.mod,
}
_OF: Final[Mapping[str, Callable[..., NDArray[Any]]]] = {
    "add_whole": np.add,
    "subtract_whole": np.subtract,
    "widen": lambda a: a.astype(np.float64),
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "ratio": _ratio,
    "is_below": _is_below,
    "year": _year,
}
