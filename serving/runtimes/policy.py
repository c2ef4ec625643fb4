"""Which candidate runs a batch: numbers in, a choice out. No clock, no I/O.

A candidate is a way to run one model: an engine on a device, with so many threads, in one dtype. What each takes was
measured (:class:`Curve`); what is at work now is told (:class:`Load`). The one that is expected to have the answer first
is chosen, and stays until another is better by a margin, so that two that are alike do not take turns.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors
from mainspring.core.models import samples

#: How much better another one must be to be taken instead: a few runs differ by so much on a busy machine.
MARGIN: Final = 0.15

FULL: Final = "float32"


@dataclass(frozen=True)
class Device:
    """What executes. `units`: how much it does at once, cores of a CPU.

    `is_shared`: the system shares it out among all that run; otherwise one batch waits for those before it.
    """

    name: str
    units: int = 1
    is_shared: bool = True


@dataclass(frozen=True)
class Candidate:
    """One way to run a model."""

    engine: str
    device: Device
    threads: int = 1
    dtype: str = FULL

    def __post_init__(self) -> None:
        # Once, not for each look into a dict: a choice looks into several for each candidate.
        object.__setattr__(self, "_hash", hash((self.engine, self.device, self.threads, self.dtype)))

    def __hash__(self) -> int:
        found: int = self.__dict__["_hash"]
        return found

    @property
    def name(self) -> str:
        """`onnx cpu x2`, `torch cpu x1 bfloat16`."""
        dtype = "" if self.dtype == FULL else f" {self.dtype}"
        return f"{self.engine} {self.device.name} x{self.threads}{dtype}"


class Curve:
    """Seconds that a batch takes by its rows, measured at powers of two. Immutable.

    Between two measurements it is a straight line; below the first one nothing is cheaper; above the last one each row
    costs what it cost there.
    """

    def __init__(self, seconds: Mapping[int, float]) -> None:
        """Errors: InvariantViolated if there is none, a size is no power of two, or a time is not above 0."""
        self._rows = sorted(seconds)
        self._seconds = [seconds[rows] for rows in self._rows]
        if not self._rows or any(r < 1 or r & (r - 1) for r in self._rows) or min(self._seconds) <= 0:
            raise errors.InvariantViolated(
                f"costs are {dict(seconds)}, expected seconds above 0 at powers of two; measure them anew",
                where="policy.curve",
            )

    def __call__(self, rows: int) -> float:
        at = bisect.bisect_left(self._rows, rows)
        if at == len(self._rows):
            return self._seconds[-1] * rows / self._rows[-1]
        if at == 0:
            return self._seconds[0]
        low, high = self._rows[at - 1], self._rows[at]
        share = (rows - low) / (high - low)
        return self._seconds[at - 1] + share * (self._seconds[at] - self._seconds[at - 1])


@dataclass(frozen=True)
class Load:
    """What is at work on one device now: threads of all batches, and the seconds they were expected to take."""

    units: int = 0
    seconds: float = 0.0


IDLE: Final = Load()


def completion(candidate: Candidate, seconds: float, load: Load) -> float:
    """Seconds from now until it has the answer that takes it `seconds` alone."""
    device = candidate.device
    if device.is_shared:
        return seconds * max(1.0, (load.units + candidate.threads) / device.units)
    return load.seconds + seconds


class Policy:
    """Chooses among the measured candidates of one model, and remembers what it chose.

    Threads: any; what it remembers is one entry a size, and of two that write it at once either may win.
    """

    def __init__(
        self, curves: Mapping[Candidate, Curve], reference: Candidate, *, margin: float = MARGIN
    ) -> None:
        """`reference` is what the settings say; any other must be better by `margin` (a share) to begin with.

        Errors: InvariantViolated if `reference` was not measured.
        """
        if reference not in curves:
            raise errors.InvariantViolated(
                f"`{reference.name}` was not measured; measure what the settings say first",
                where="policy.reference",
            )
        self.reference: Final = reference
        self._curves = dict(curves)
        self._margin = margin
        self._standing: dict[int, Candidate] = {}
        self._out: dict[Candidate, str] = {}

    @property
    def out(self) -> Mapping[Candidate, str]:
        """Who failed, and how."""
        return dict(self._out)

    def seconds(self, candidate: Candidate, rows: int) -> float:
        """What the candidate was measured to take alone."""
        return self._curves[candidate](rows)

    def ranked(self, rows: int, loads: Mapping[str, Load]) -> list[Candidate]:
        """The choice for a batch, then the others, the next best first; `loads` is by device, absent: idle.

        Errors: DependencyDown if all of them failed.
        """
        expected = {
            candidate: completion(candidate, curve(rows), loads.get(candidate.device.name, IDLE))
            for candidate, curve in self._curves.items()
            if candidate not in self._out
        }
        if not expected:
            raise errors.DependencyDown(
                f"nothing is left that runs this model: {'; '.join(self._out.values())}; load the bundle again",
                name=self.reference.name,
            )
        order = sorted(expected, key=expected.__getitem__)
        size = rows.bit_length()
        standing = self._standing.get(size, self.reference)
        if expected.get(standing, np.inf) <= expected[order[0]] * (1 + self._margin):
            order.remove(standing)
            order.insert(0, standing)
        else:
            self._standing[size] = order[0]
        return order

    def fail(self, candidate: Candidate, error: Exception) -> errors.DependencyDown:
        """Never choose it again; the typed error says so to whoever operates this."""
        failure = errors.DependencyDown(
            f"`{candidate.name}` failed where another one answered: {error}"[:300]
            + "; it is asked no more until its bundle is loaded again",
            name=candidate.device.name,
        )
        self._out[candidate] = failure.message
        return failure


def winners(
    curves: Mapping[Candidate, Curve], reference: Candidate, sizes: tuple[int, ...]
) -> set[Candidate]:
    """Who is chosen at one of these sizes, on idle devices or on full ones, and the reference: the others need not stay."""
    devices = {candidate.device for candidate in curves}
    full = {d.name: Load(units=d.units) for d in devices if d.is_shared}
    found = {reference}
    for loads in ({}, full):
        for rows in sizes:
            # A new one each time: what another size chose must not stand in the way.
            found.add(Policy(curves, reference).ranked(rows, loads)[0])
    return found


def refusal(
    candidate: Candidate, scores: object, wanted: NDArray[np.float32], tolerances: Mapping[str, float]
) -> str:
    """Why a candidate that gave `scores` where `wanted` (n,) was right must never be chosen; empty: it may be.

    In float32 it must answer as any runtime of the bundle must (`samples.RTOL`, `samples.ATOL`); in a smaller dtype as
    the bundle's `tolerances` say (absolute), and not at all where they do not name it.
    """
    if candidate.dtype != FULL and candidate.dtype not in tolerances:
        return f"the bundle declares no tolerance for {candidate.dtype}"
    if not isinstance(scores, np.ndarray) or scores.dtype != np.float32 or scores.shape != wanted.shape:
        return f"it gave no float32 {wanted.shape}"
    if not np.isfinite(scores).all():
        return "a score is not finite"
    limit = (
        samples.ATOL + samples.RTOL * np.abs(wanted)
        if candidate.dtype == FULL
        else np.float64(tolerances[candidate.dtype])
    )
    difference = np.abs(scores.astype(np.float64) - wanted)
    if (difference <= limit).all():
        return ""
    return f"its scores differ from the recorded ones by up to {difference.max():.3g}"
