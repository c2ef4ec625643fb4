"""Warm-up by measurement: what a bundle's candidates take by rows, in a bounded time, and which of them stay.

They are asked the bundle's own samples, repeated to the size. Sizes go up by fours, all candidates take turns at one, so that
a busy moment of the machine meets all of them. The upper quartile counts: threads that wait for one another are fast in most runs
and dreadful in some, and must not be chosen for the good ones. What does not fit into the time is not measured, the
slowest candidates first: larger sizes cost what the largest one measured says, by row.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mainspring.core import ports
from mainspring.core.features import program
from mainspring.core.models import bundle, samples
from mainspring.core.models import runtimes as known
from mainspring.serving.runtimes import candidates, policy
from mainspring.serving.runtimes import routed as routing

_LOG: Final = logging.getLogger("mainspring.serving")

#: Runs of each candidate at a size, at least and at most: more than nine tell little more.
_LEAST: Final = 3
_MOST: Final = 9

#: Batches beyond it are not made: measuring must not be what takes most memory.
_MAX_BATCH_BYTES: Final = 16 << 20

Runtimes = dict[policy.Candidate, ports.ModelRuntime]
Seconds = dict[policy.Candidate, dict[int, float]]


@dataclass(frozen=True)
class Measurer:
    """Measures bundles of one process, each for at most `seconds`, and a build and a run more. Thread-safe."""

    options: known.Options
    seconds: float
    max_rows: int
    work: routing.Work = field(default_factory=routing.Work)
    clock: Callable[[], float] = time.perf_counter

    def routed(
        self,
        opened: bundle.Bundle,
        compiled: program.Program,
        runtime: ports.ModelRuntime,
        asked: ports.ModelInput,
        recorded: samples.Samples,
    ) -> ports.ModelRuntime:
        """`runtime` and what is better somewhere, as one runtime; itself where there is no other way or no time at all.

        `runtime` has answered `asked`, the `recorded` rows as model input, rightly.
        """
        if not self.seconds:
            return runtime
        offered = candidates.offers(
            opened,
            compiled,
            runtime,
            self.options,
            tolerances={str(k): v for k, v in recorded.tolerances.items()},
            device=candidates.cpu(),
            seconds=self.seconds,
        )
        if not offered.others:
            return runtime
        return self.among(opened.digest, offered, runtime, asked, recorded)

    def among(
        self,
        digest: str,
        offered: candidates.Offers,
        runtime: ports.ModelRuntime,
        asked: ports.ModelInput,
        recorded: samples.Samples,
    ) -> routing.RoutedRuntime:
        """The same of candidates that are `offered`; `digest` is for the log."""
        deadline = self.clock() + self.seconds
        reference = offered.reference
        wanted = np.array(recorded.scores, np.float32) if recorded.scores else runtime.predict(asked)
        found: dict[policy.Candidate, routing.Finding] = {}
        runtimes: Runtimes = {reference: runtime}
        slowest_build = 0.0
        for offer in offered.others:
            began = self.clock()
            if began + (0.0 if offer.is_light else slowest_build) >= deadline:
                found[offer.candidate] = _finding(
                    offer.candidate, "unmeasured", "there was no time to build it"
                )
                continue
            built = _built(offer, asked, wanted, recorded)
            slowest_build = max(slowest_build, self.clock() - began)
            if isinstance(built, str):
                found[offer.candidate] = _finding(offer.candidate, "refused", built)
            else:
                runtimes[offer.candidate] = built
        taken = self._timed(runtimes, reference, asked, deadline)
        curves = {candidate: policy.Curve(seconds) for candidate, seconds in taken.items()}
        kept = policy.winners(curves, reference, tuple(taken[reference]))
        for candidate, seconds in taken.items():
            found[candidate] = routing.Finding(candidate, "used" if candidate in kept else "slower", seconds)
        findings = [found[c] for c in (reference, *(o.candidate for o in offered.others))]
        _log(digest, findings)
        return routing.RoutedRuntime(
            {c: runtimes[c] for c in runtimes if c in kept},
            policy.Policy({c: curves[c] for c in kept}, reference),
            self.work,
            findings,
        )

    def _timed(
        self, runtimes: Runtimes, reference: policy.Candidate, asked: ports.ModelInput, deadline: float
    ) -> Seconds:
        """Seconds by rows, the upper quartile, of everybody at least that of one row; who is too slow for the time that is left goes first."""
        taken: Seconds = {candidate: {} for candidate in runtimes}
        running = dict(runtimes)
        sizes = _sizes(asked, self.max_rows)
        for i, rows in enumerate(sizes):
            now = self.clock()
            if i:
                last = sizes[i - 1]
                expected = {c: _LEAST * taken[c][last] * rows / last for c in running}
                while len(running) > 1 and now + sum(expected[c] for c in running) > deadline:
                    del running[max(running.keys() - {reference}, key=expected.__getitem__)]
                if len(running) == 1:
                    break  # nobody is left to compare with
            # The sizes that are left share the time that is left; what one does not need goes to the next.
            share = (deadline - now) / (len(sizes) - i)
            for candidate, runs in self._rounds(running, _repeated(asked, rows), share).items():
                taken[candidate][rows] = sorted(runs)[3 * len(runs) // 4]
        return taken

    def _rounds(
        self, runtimes: Runtimes, batch: ports.ModelInput, share: float
    ) -> Mapping[policy.Candidate, list[float]]:
        runs: dict[policy.Candidate, list[float]] = {candidate: [] for candidate in runtimes}
        until = self.clock() + share
        for done in range(_MOST):
            if done >= _LEAST and self.clock() >= until:
                break
            for candidate, runtime in runtimes.items():
                if done and runs[candidate][0] > share:
                    continue  # one run took all there was
                began = self.clock()
                runtime.predict(batch)
                # A clock may not tell two moments apart.
                runs[candidate].append(max(self.clock() - began, 1e-9))
        return runs


def _built(
    offer: candidates.Offer,
    asked: ports.ModelInput,
    wanted: NDArray[np.float32],
    recorded: samples.Samples,
) -> ports.ModelRuntime | str:
    """The runtime, if it answers the samples as it must, in one batch and alone; else why not."""
    tolerances = {str(name): value for name, value in recorded.tolerances.items()}
    try:
        runtime = offer.build()
        alone = ports.ModelInput(asked.dense[:1], asked.ids[:1])
        for batch, right in ((asked, wanted), (alone, wanted[:1])):
            if why := policy.refusal(offer.candidate, runtime.predict(batch), right, tolerances):
                return why
    except Exception as error:  # noqa: BLE001 - libraries and devices raise whatever they stumble over; the bundle has its reference
        return f"it cannot be built or run: {error}"[:300]
    return runtime


def _sizes(asked: ports.ModelInput, max_rows: int) -> list[int]:
    row_bytes = max(1, asked.dense[:1].nbytes + asked.ids[:1].nbytes)
    most = max(1, min(max_rows, _MAX_BATCH_BYTES // row_bytes))
    return [1 << i for i in range(0, most.bit_length(), 2)]


def _repeated(asked: ports.ModelInput, rows: int) -> ports.ModelInput:
    at = np.arange(rows) % asked.n_rows
    return ports.ModelInput(np.ascontiguousarray(asked.dense[at]), np.ascontiguousarray(asked.ids[at]))


def _finding(candidate: policy.Candidate, state: routing.State, why: str) -> routing.Finding:
    return routing.Finding(candidate, state, {}, why)


def _log(digest: str, findings: list[routing.Finding]) -> None:
    told = "; ".join(
        f"{f.candidate.name} {f.state}"
        + (f" ({f.why})" if f.why else "")
        + "".join(f" {rows}:{seconds * 1e6:.0f}us" for rows, seconds in f.seconds.items())
        for f in findings
    )
    _LOG.info("bundle `%s` was measured: %s", digest, told)
