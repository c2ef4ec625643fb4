"""What brings feature rows to the online store, and how far it came. Workflow type: `mainspring.Materialize.v1`."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from mainspring.core.contracts.base import Fraction, Message, Slug, UtcTime

__all__ = ["MATERIALIZE_WORKFLOW", "MaterializeOutcome", "MaterializeRequest", "MaterializedView"]

MATERIALIZE_WORKFLOW: Final = "mainspring.Materialize.v1"


class MaterializeRequest(Message):
    """Push the newest row of each key of a project's views to serving."""

    project: Slug
    sample_fraction: Fraction = 1.0
    views: tuple[str, ...] = ()
    """None named: all of the project's."""
    since: UtcTime | None = None
    """A backfill of rows with event times from then on; what earlier runs have taken, and the watermark, are left alone.
    None: go on where the last run ended."""
    until: UtcTime | None = None
    """Rows up to then, that included; None: up to now."""
    lateness_minutes: Annotated[float, Field(ge=0)] = 0.0
    """Rows may come so much later than rows with newer event times, and are found."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.since is not None and self.until is not None and self.until < self.since:
            raise ValueError("until lies before since; exchange them")
        return self


class MaterializedView(Message):
    """One view: `rows` were read, `pushed` of them were the newest of their key in a slice, `taken` became the store's."""

    name: str
    rows: int
    pushed: int
    taken: int
    watermark: UtcTime | None = None
    """Rows before this are in the store; None where there was nothing to read yet."""


class MaterializeOutcome(Message):
    """What a run has brought."""

    project: Slug
    is_backfill: bool
    views: tuple[MaterializedView, ...]
