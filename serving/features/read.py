"""Online features by reference, for callers that have models of their own: Feast's question, asked of the online store."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from mainspring.core import errors, ports
from mainspring.core.contracts import features
from mainspring.core.features import schema

__all__ = ["Answer", "Part", "read", "to_ipc", "to_json"]

_STATUS: Final = ("PRESENT", "NOT_FOUND", "OUTSIDE_MAX_AGE")
_NUMPY: Final = orjson.OPT_SERIALIZE_NUMPY
_FLOATS: Final = ("float32", "float64")


@dataclass(frozen=True)
class Part:
    """What one view answered: `names[output] = field` in the order asked."""

    view: ports.ViewSchema
    names: Mapping[str, str]
    rows: ports.OnlineRows


@dataclass(frozen=True)
class Answer:
    """The keys as they were sent, then each view's features; n rows."""

    keys: Mapping[str, Sequence[Any]]
    parts: tuple[Part, ...]
    n_rows: int


def read(
    online: ports.OnlineFeatures,
    services: Iterable[schema.FeatureService],
    asked: features.FeatureRead,
    *,
    now_us: int,
    max_rows: int,
) -> Answer:
    """Look up every view once, however many rows.

    Missing: an absent entity is data: its features are null and say NOT_FOUND or OUTSIDE_MAX_AGE.
    Errors:  NotFound for a view, feature or service that is not here (did you mean); InvalidRequest for a reference that
             is none, ragged or missing keys, too many rows, or two features of one name; SchemaMismatch for a key of
             another type than the rows have.
    """
    n_rows = _rows(asked.entities, max_rows)
    views = {view.name: view for view in online.views()}
    by_view: dict[str, dict[str, str]] = {}
    names: set[str] = set()
    for view, field in _references(asked, services):
        if view not in views:
            raise _unknown("view", view, views)
        name = f"{view}__{field}" if asked.full_feature_names else field
        if name in names:
            raise errors.InvalidRequest(
                f"two features are called `{name}`; ask with `full_feature_names`", field="features"
            )
        names.add(name)
        by_view.setdefault(view, {})[name] = field
    parts = []
    for view, outputs in by_view.items():
        known = views[view]
        keys = {key: asked.entities[key] for key in known.join_keys if key in asked.entities}
        if len(keys) < len(known.join_keys):
            missing = next(key for key in known.join_keys if key not in keys)
            raise errors.InvalidRequest(
                f"view `{view}` is looked up by {list(known.join_keys)}, and `{missing}` was not sent; add it",
                field=f"entities.{missing}",
            )
        rows = online.read(view, keys, now_us=now_us, fields=tuple(outputs.values()))
        parts.append(Part(known, outputs, rows))
    return Answer(asked.entities, tuple(parts), n_rows)


def to_json(answer: Answer) -> bytes:
    """As Feast's feature server writes it: metadata, then values, statuses and event times a feature.

    A null, and a float that JSON cannot say (infinity), is null.
    """
    names: list[str] = list(answer.keys)
    present = orjson.Fragment(orjson.dumps(["PRESENT"] * answer.n_rows))
    never = orjson.Fragment(orjson.dumps(["1970-01-01T00:00:00Z"] * answer.n_rows))
    results: list[dict[str, Any]] = [
        {"values": values, "statuses": present, "event_timestamps": never} for values in answer.keys.values()
    ]
    for part in answer.parts:
        rows = part.rows
        # Once a view, not once a feature.
        statuses = orjson.Fragment(orjson.dumps([_STATUS[s] for s in rows.status.tolist()]))
        times = orjson.Fragment(
            orjson.dumps(
                rows.event_us.view("datetime64[us]"), option=_NUMPY | orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC
            )
        )
        kinds = dict(part.view.fields)
        for name, field in part.names.items():
            values: Any = rows.values[field]
            if kinds[field] in _FLOATS:
                values = orjson.Fragment(orjson.dumps(values, option=_NUMPY))  # NaN is null
            else:
                there = rows.valid[field]
                values = values.tolist()
                if not there.all():
                    values = [v if t else None for v, t in zip(values, there.tolist(), strict=True)]
            names.append(name)
            results.append({"values": values, "statuses": statuses, "event_timestamps": times})
    return orjson.dumps({"metadata": {"feature_names": names}, "results": results})


def to_ipc(answer: Answer) -> bytes:
    """As one Arrow stream; see `core.features.arrow_rows`."""
    from mainspring.core.features import arrow_rows  # PyArrow: who reads JSON only should not pay for it

    return arrow_rows.to_ipc(answer.keys, [(part.view, part.names, part.rows) for part in answer.parts])


def _rows(entities: Mapping[str, Sequence[Any]], max_rows: int) -> int:
    n_rows = -1
    for name, values in entities.items():
        if n_rows not in (-1, len(values)):
            raise errors.InvalidRequest(
                f"`{name}` has {len(values)} values, others have {n_rows}; send one a row",
                field=f"entities.{name}",
            )
        n_rows = len(values)
    if not 1 <= n_rows <= max_rows:
        raise errors.InvalidRequest(
            f"`entities` has {n_rows} rows, expected 1 to {max_rows}; split the request", field="entities"
        )
    return n_rows


def _references(
    asked: features.FeatureRead, services: Iterable[schema.FeatureService]
) -> list[tuple[str, str]]:
    if asked.features is None:
        known = {service.name: service for service in services}
        service = known.get(asked.feature_service or "")
        if service is None:
            raise _unknown("feature_service", asked.feature_service or "", known)
        return [(view.name, field.name) for view in service.views for field in view.fields]
    found = []
    for reference in asked.features:
        view, colon, field = reference.partition(":")
        if not (view and colon and field):
            raise errors.InvalidRequest(
                f"`{reference}` is no feature reference; write `view:feature`", field="features"
            )
        found.append((view, field))
    return found


def _unknown(resource: str, name: str, known: Iterable[str]) -> errors.NotFound:
    close = tuple(difflib.get_close_matches(name, list(known), n=3))
    hint = f"did you mean `{close[0]}`" if close else f"known are {sorted(known)}"
    return errors.NotFound(
        f"no {resource.replace('_', ' ')} `{name}` is served here; {hint}",
        resource=resource,
        name=name,
        did_you_mean=close,
    )
