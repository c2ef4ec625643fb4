"""A model that is run by whichever of its candidates has the answer first; one that fails is left out."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.serving.runtimes import policy

_LOG: Final = logging.getLogger("mainspring.serving")

State = Literal["used", "slower", "refused", "unmeasured", "failed"]


@dataclass(frozen=True)
class Finding:
    """What warm-up found of one candidate; `seconds` by rows of a batch, empty where it was not measured."""

    candidate: policy.Candidate
    state: State
    seconds: Mapping[int, float]
    why: str = ""
    batches: int = 0
    """It has run since the bundle was loaded."""


class Work:
    """What is at work by device, of all models of a process that are routed. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loads: Mapping[str, policy.Load] = {}

    @property
    def loads(self) -> Mapping[str, policy.Load]:
        """By device, as it is now; the mapping does not change."""
        return self._loads

    def begin(self, candidate: policy.Candidate, seconds: float) -> None:
        self._add(candidate, candidate.threads, seconds)

    def end(self, candidate: policy.Candidate, seconds: float) -> None:
        self._add(candidate, -candidate.threads, -seconds)

    def _add(self, candidate: policy.Candidate, units: int, seconds: float) -> None:
        name = candidate.device.name
        with self._lock:
            before = self._loads.get(name, policy.IDLE)
            units += before.units
            # Where nothing runs, nothing is left of the sums' rounding.
            after = policy.Load(units, before.seconds + seconds if units else 0.0)
            self._loads = {**self._loads, name: after}


class RoutedRuntime:
    """A :class:`mainspring.core.ports.ModelRuntime`. Thread-safe, as its candidates are.

    Candidates of another thread count may differ in a score's last bits, those of a smaller dtype within what the bundle
    allows; cut by rows, native networks and trees do not.
    """

    def __init__(
        self,
        runtimes: Mapping[policy.Candidate, ports.ModelRuntime],
        chooser: policy.Policy,
        work: Work,
        findings: Sequence[Finding],
    ) -> None:
        """`runtimes`: of everyone that `chooser` may choose; `findings`: of them and of those that are not used."""
        self._runtimes = dict(runtimes)
        self._policy = chooser
        self._work = work
        self._findings = tuple(findings)
        self._lock = threading.Lock()
        self._batches = dict.fromkeys(self._runtimes, 0)
        self._alone = self.reference if len(self._runtimes) == 1 else None

    @property
    def name(self) -> str:
        return self.reference.name

    @property
    def reference(self) -> ports.ModelRuntime:
        """What the settings say, whatever is chosen."""
        return self._runtimes[self._policy.reference]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Of warm-up, and what became of them since."""
        out = self._policy.out
        return tuple(
            replace(
                finding,
                state="failed" if finding.candidate in out else finding.state,
                why=out.get(finding.candidate, finding.why),
                batches=self._batches.get(finding.candidate, 0),
            )
            for finding in self._findings
        )

    def predict(self, batch: ports.ModelInput) -> NDArray[np.float32]:
        """Scores (n,) float32; n may be 0.

        Where the choice fails the next best is asked, and whoever failed where another one answered is out. If the
        reference fails, the batch is at fault, unless it says that what it runs on is away.
        Errors: those of the candidates; DependencyDown if none is left.
        """
        if self._alone is not None:
            self._count(self._policy.reference)
            return self._alone.predict(batch)
        failed: list[tuple[policy.Candidate, Exception]] = []
        for candidate in self._policy.ranked(batch.n_rows, self._work.loads):
            try:
                scores = self._run(candidate, batch)
            except errors.Rejected:
                raise
            except Exception as error:
                # A device's library raises whatever it stumbles over; the reference is asked before it is judged.
                if candidate == self._policy.reference and not isinstance(error, errors.Unavailable):
                    raise
                failed.append((candidate, error))
                continue
            for other, why in failed:
                _LOG.error("%s", self._policy.fail(other, why).message, exc_info=why)
            return scores
        raise failed[0][1]

    def _run(self, candidate: policy.Candidate, batch: ports.ModelInput) -> NDArray[np.float32]:
        seconds = self._policy.seconds(candidate, batch.n_rows)
        self._work.begin(candidate, seconds)
        try:
            scores = self._runtimes[candidate].predict(batch)
        finally:
            self._work.end(candidate, seconds)
        self._count(candidate)
        return scores

    def _count(self, candidate: policy.Candidate) -> None:
        with self._lock:
            self._batches[candidate] += 1


def reference(runtime: ports.ModelRuntime) -> ports.ModelRuntime:
    """What the settings say runs a model, routed or not: for the native front, which runs kernels itself."""
    return runtime.reference if isinstance(runtime, RoutedRuntime) else runtime
