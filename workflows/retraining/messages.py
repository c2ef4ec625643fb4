"""What the retraining says to its activities, by name."""

from __future__ import annotations

from typing import Final

from mainspring.core.contracts import performance, retraining
from mainspring.core.contracts.base import Message, UtcTime

CHECK: Final = "mainspring.retraining.check.v1"
START: Final = "mainspring.retraining.start.v1"


class Checked(Message):
    """What the logged predictions say."""

    bundle_digest: str = ""
    predictions: int = 0
    known: int = 0
    report: performance.PerformanceReport | None = None
    """None: there was nothing to judge, as `message` says."""
    message: str = ""


class Start(Message):
    """A training that `alarms` call for."""

    request: retraining.RetrainRequest
    alarms: tuple[str, ...]
    key: str
    """The same again is the same training."""
    until: UtcTime | None = None
    """When the newest window that was judged ends: a rolling split ends there, too."""


class Started(Message):
    run_id: str = ""
    message: str = ""
