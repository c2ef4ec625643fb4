"""What starts a skew check, and what it answers. Workflow type: `mainspring.CheckSkew.v1`."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from mainspring.core.contracts.base import Fraction, Message, Slug, UtcTime

__all__ = ["SKEW_WORKFLOW", "SkewOutcome", "SkewRequest", "SkewedFeature"]

SKEW_WORKFLOW: Final = "mainspring.CheckSkew.v1"


class SkewRequest(Message):
    """Ask the recorded reads of a project's views again, against the features of one of its workspaces."""

    project: Slug
    sample_fraction: Fraction = 1.0
    max_rows: Annotated[int, Field(ge=1)] = 100_000
    """Of each view, the newest."""
    since: UtcTime | None = None
    """Reads that were served before are passed over; None: as long as they are kept."""


class SkewedFeature(Message):
    """One feature that was served otherwise than offline; see `core.monitoring.skew.FeatureSkew`."""

    name: str
    equal: int
    mismatched: int
    missing: int
    extra: int
    error: str = ""


class SkewOutcome(Message):
    """What a check found. Without reads it found nothing, and says 0 rows."""

    project: Slug
    rows: int
    later_rows: int
    """Reads that offline cannot know yet."""
    features: int
    """How many were compared."""
    skewed: tuple[SkewedFeature, ...]
    report_path: str
    """The whole report, on the worker's machine."""
