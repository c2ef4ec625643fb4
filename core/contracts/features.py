"""Online reads over HTTP, in the words of Feast's feature server."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from mainspring.core.contracts.base import Request, UtcTime

__all__ = ["FeatureRead"]


class FeatureRead(Request):
    """The newest values of features for entities: the body that Feast's clients send to `/get-online-features`."""

    features: list[str] | None = Field(default=None, min_length=1)
    """`view:feature` each."""
    feature_service: str | None = None
    """Instead of `features`: all features of a service that a loaded bundle has."""
    entities: dict[str, list[str | int | None]] = Field(min_length=1)
    """Join key to one value a row. A null is an entity that nobody has."""
    full_feature_names: bool = False
    """Call a feature `view__feature`, not `feature`."""
    as_of: UtcTime | None = None
    """The time at which features are read; None: now."""
    include_feature_view_version_metadata: bool = False
    """Sent by Feast's clients; views here have one version, so nothing is added."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.features is None) == (self.feature_service is None):
            raise ValueError("give either `features` or `feature_service`")
        return self
