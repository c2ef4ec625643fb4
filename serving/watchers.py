"""Everything that is told of answers: the prediction log, the meter, the extraction monitor; chosen here from the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mainspring.core import settings
from mainspring.core.contracts import access
from mainspring.serving import extraction, observed, prediction_log, usage
from mainspring.serving.access import limits

if TYPE_CHECKING:
    from mainspring.core.monitoring import prediction_log as core_log

__all__ = ["Watchers", "start"]


@dataclass
class Watchers:
    """Those that are there. `close` them when no more answers come."""

    observers: list[observed.Observer] = field(default_factory=list)
    predictions: core_log.PredictionLog | None = None
    meter: usage.Meter | None = None
    usage: usage.Reporter | None = None
    extraction: extraction.Monitor | None = None

    @property
    def see_rows(self) -> bool:
        """Whether anybody wants to know more of an answer than what it used."""
        return self.predictions is not None or self.extraction is not None

    def close(self) -> None:
        """Write and send what waits."""
        for one in (self.extraction, self.predictions, self.usage):
            if one is not None:
                one.close()


def start(
    serving: settings.ServingSettings, limiter: limits.Limiter, send_usage: usage.Send | None
) -> Watchers:
    """Errors: MissingTool without PyArrow where predictions are logged, InvalidSettings for a key of tokens that is none."""
    watching = Watchers(predictions=prediction_log.start(serving))
    if watching.predictions is not None:
        watching.observers.append(prediction_log.observer(watching.predictions, serving.log_predictions))
    if send_usage is not None and serving.usage_report_seconds:
        meter = watching.meter = usage.Meter(capacity=serving.capacity)
        watching.observers.append(meter.observe)
        watching.usage = usage.Reporter(
            meter, send_usage, serving.usage_spool, every_seconds=serving.usage_report_seconds
        )
    if serving.extraction_min_rows:
        watching.extraction = extraction.Monitor(
            min_rows=serving.extraction_min_rows,
            window_seconds=serving.extraction_window_seconds,
            on_change=_throttling(limiter, serving.extraction_rows_per_second),
        )
        watching.observers.append(watching.extraction.observe)
    return watching


def _throttling(limiter: limits.Limiter, rows_per_second: float) -> Callable[[str, str, bool], None]:
    def change(caller: str, endpoint: str, is_suspected: bool) -> None:
        if rows_per_second:
            rule = access.LimitRule(caller=caller, endpoint=endpoint, rows_per_second=rows_per_second)
            limiter.throttle(caller, endpoint, rule if is_suspected else None)

    return change
