"""Whether the budget lets a reader of a stream begin and go on: it is stopped with its state written, and goes on from there."""

from __future__ import annotations

import time
from typing import Final

from mainspring.core import errors
from mainspring.core.client import allowance
from mainspring.core.features.streams import consumer, metering

__all__ = ["Spending"]

_SKU: Final = "million_events"
_MILLION: Final = 1_000_000
#: Kept free ahead of a reader: what it reads in ten minutes at the rate of the last minute, and at least so many millions.
_AHEAD_SECONDS: Final = 600.0
_LEAST: Final = 0.1
#: From the word to the end: a look, a batch, and the last snapshot.
_LAST_SECONDS: Final = 3.0


class Spending:
    """Of one reader. `look` by one thread, again and again; the rest before and after."""

    def __init__(
        self,
        reader: consumer.StreamConsumer,
        owner: metering.Owner,
        control: allowance.Control,
        *,
        patience_seconds: float,
        ask_seconds: float = allowance.ASK_SECONDS,
    ) -> None:
        """Errors: DependencyDown where the reader's folder cannot be written."""
        assert reader.meter is not None, "it has a folder"
        self._reader, self._meter = reader, reader.meter
        try:
            work_id = owner.work_id(self._meter.reader)
        except OSError as error:
            raise errors.DependencyDown(
                f"the state's folder cannot be written: {error}; make room or let it be written", name="disk"
            ) from error
        self._work = allowance.Work(work_id, owner.project, owner.environment)
        self._allowance = allowance.Allowance(
            control, self._work, patience_seconds=patience_seconds, ask_seconds=ask_seconds
        )
        self._begun = self._meter.taken
        self._seen: tuple[float, int] | None = None
        self._rate = 0.0
        self._stop: allowance.Stop | None = None

    def begin(self) -> None:
        """Before anything is read. Errors: BudgetExceeded; those of who may not report its usage."""
        self._allowance.begin({_SKU: _LEAST}, {_SKU: self._meter.unrecorded / _MILLION})

    def look(self) -> None:
        """Stops the reader where it must not go on; a word that was said stands."""
        if self._stop is None:
            self._stop = self._allowance.look(self._use())
            if self._stop is not None:
                self._reader.stop()

    def end(self) -> None:
        """After the last of its usage was told. Errors: BudgetExhausted if that is why it ended."""
        if not self._meter.untold:
            self._allowance.end()
        if self._stop is not None:
            raise self._stop.error(
                self._work,
                "its state is written, and the same command goes on from there, nothing is lost or twice",
            )

    def _use(self) -> allowance.Use:
        taken = self._meter.taken
        self._rate = max(self._rate_of(taken), self._rate * 0.98)  # a lull of a minute is none
        return allowance.Use(
            total={_SKU: (taken - self._begun) / _MILLION},
            unrecorded={_SKU: self._meter.unrecorded / _MILLION},
            ahead={_SKU: max(_LEAST, self._rate * _AHEAD_SECONDS)},
            last={_SKU: self._rate * _LAST_SECONDS},
        )

    def _rate_of(self, taken: int) -> float:
        """Millions a second since the last look."""
        now, before = time.monotonic(), self._seen
        self._seen = now, taken
        return (
            0.0 if before is None or now <= before[0] else (taken - before[1]) / _MILLION / (now - before[0])
        )
