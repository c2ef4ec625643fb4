"""The features of flight delay, in Feast's language: who they describe, what they hold, how long they stay true."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from mainspring.core.features import feast_adapter as feast
from mainspring.core.features.windows import CREATED, EVENT
from mainspring.core.reference.flight_delay import views

__all__ = ["SERVICE", "VIEWS_FOLDER", "build"]

SERVICE: Final = "flight_delay_v1"

#: Where the views' Parquet files are, relative to the feature folder.
VIEWS_FOLDER: Final = "views"

_OWNER: Final = "flight-delay"

#: All of it is published by the Bureau of Transportation Statistics and tells of aircraft, not of people.
_TAGS: Final = {"classification": "public"}

_DESCRIPTIONS: Final = {
    "departures": "Departures of the last {window}: mean delay in minutes, shares late and cancelled, count",
    "arrivals": "Arrivals of the last {window}: mean delay in minutes, share late, count",
}


def build() -> feast.Definitions:
    """The entities, the views and the service. Nothing is registered."""
    entities = _entities()
    made = tuple(_views(entities))
    service = feast.FeatureService(
        name=SERVICE,
        features=list(made),
        description="All that is known two hours before departure",
        owner=_OWNER,
        tags=_TAGS,
    )
    return feast.Definitions(tuple(entities.values()), made, service)


def _entities() -> dict[str, feast.Entity]:
    text, whole = feast.ValueType.STRING, feast.ValueType.INT64
    described = (
        ("carrier", text, "Two-letter airline code"),
        ("origin", text, "Departure airport: EWR, JFK or LGA"),
        ("dest", text, "Destination airport"),
        ("flight", whole, "Flight number; it names a flight together with the carrier"),
        ("tailnum", text, "Aircraft registration; some flights have none"),
    )
    return {
        name: feast.Entity(name=name, join_keys=[name], value_type=kind, description=what, owner=_OWNER)
        for name, kind, what in described
    }


def _views(entities: dict[str, feast.Entity]) -> list[feast.FeatureView]:
    trailing = [
        _view(
            entities,
            view.name,
            view.keys,
            [a.name for a in views.AGGREGATES[view.stream]],
            view.window,
            _DESCRIPTIONS[view.stream].format(window=view.window),
        )
        for view in views.TRAILING
    ]
    return [
        *trailing,
        _view(
            entities, "tail_last", ("tailnum",), ["arr_delay"], timedelta(hours=72),
            "The aircraft's last arrival: delay in minutes, and when it was known", exact=["arr_known_us"],
        ),
        _view(
            entities, "weather_origin", ("origin",), list(views.WEATHER_FIELDS), timedelta(hours=3),
            "Hourly observation at the departure airport; gaps of up to six hours are real",
        ),
        _view(
            entities, "plane_static", ("tailnum",), list(views.PLANE_FIELDS), None,
            "Register of aircraft: year built, seats, engines; one flight in six has no entry",
        ),
    ]  # fmt: skip


def _view(
    entities: dict[str, feast.Entity],
    name: str,
    keys: tuple[str, ...],
    fields: list[str],
    ttl: timedelta | None,
    description: str,
    *,
    exact: list[str] | None = None,
) -> feast.FeatureView:
    return feast.FeatureView(
        name=name,
        entities=[entities[key] for key in keys],
        ttl=ttl or timedelta(0),
        schema=[
            *(feast.field(key, "int64" if key == "flight" else "string") for key in keys),
            *(feast.field(f, "float32") for f in fields),
            *(feast.field(f, "float64") for f in exact or ()),
        ],
        source=feast.FileSource(
            name=f"{name}_rows",
            path=f"{VIEWS_FOLDER}/{name}.parquet",
            timestamp_field=EVENT,
            created_timestamp_column=CREATED,
        ),
        description=description,
        owner=_OWNER,
        tags=_TAGS,
    )
