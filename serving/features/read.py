"""Online features by reference, for callers that have models of their own: Feast's question, asked of the online store."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from mainspring.core import errors, ports
from mainspring.core.contracts import features
from mainspring.core.features import schema

__all__ = ["Answer", "Part", "read", "to_ipc", "to_json"]

_STATUS: Final = ("PRESENT", "NOT_FOUND", "OUTSIDE_MAX_AGE")
_NUMPY: Final = orjson.OPT_SERIALIZE_NUMPY


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

    def shown(self, show: Callable[[str, ports.OnlineRows], ports.OnlineRows]) -> Answer:
        """The answer with each view's rows as `show` makes them; itself where that changes nothing."""
        parts = tuple(Part(p.view, p.names, show(p.view.name, p.rows)) for p in self.parts)
        if all(after.rows is before.rows for after, before in zip(parts, self.parts, strict=True)):
            return self
        return Answer(self.keys, parts, self.n_rows)


def read(
    online: ports.OnlineFeatures,
    services: Callable[[], Iterable[schema.FeatureService]],
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
    if asked.features is not None:
        by_view = _parsed(tuple(asked.features), asked.full_feature_names)
    else:
        by_view = _grouped(_of_service(asked.feature_service or "", services()), asked.full_feature_names)
    parts = []
    for view, outputs in by_view.items():
        if view not in views:
            raise _unknown("view", view, views)
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
    results = [
        b'{"values":%b%b' % (orjson.dumps(values), _ending(["PRESENT"] * answer.n_rows, [0] * answer.n_rows))
        for values in answer.keys.values()
    ]
    for part in answer.parts:
        rows, kinds = part.rows, dict(part.view.fields)
        ending = _ending([_STATUS[s] for s in rows.status.tolist()], rows.event_us)
        columns = [rows.values[field] for field in part.names.values()]
        names += part.names
        kind = {kinds[field] for field in part.names.values()}
        if kind in ({"float32"}, {"float64"}):
            # All at once, and the brackets between two columns become the ending of one and the beginning of the next.
            matrix = orjson.dumps(np.array(columns), option=_NUMPY)  # NaN is null
            results.append(
                b'{"values":' + matrix[1:-1].replace(b"],[", b"]" + ending + b',{"values":[') + ending
            )
            continue
        for field, values in zip(part.names.values(), columns, strict=True):
            there = rows.valid[field].tolist()
            plain = [v if t else None for v, t in zip(values.tolist(), there, strict=True)]
            results.append(b'{"values":%b%b' % (orjson.dumps(plain), ending))
    return b'{"metadata":{"feature_names":%b},"results":[%b]}' % (orjson.dumps(names), b",".join(results))


def _ending(statuses: Sequence[str], event_us: Any) -> bytes:
    """What follows the values of every feature of a view."""
    times = np.asarray(event_us, np.int64).view("datetime64[us]")
    return b',"statuses":%b,"event_timestamps":%b}' % (
        orjson.dumps(statuses),
        orjson.dumps(times, option=_NUMPY | orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC),
    )


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


@functools.lru_cache(maxsize=1024)
def _parsed(references: tuple[str, ...], full_names: bool) -> Mapping[str, Mapping[str, str]]:
    # Cached: a caller asks for the same features again and again.
    found = []
    for reference in references:
        view, colon, field = reference.partition(":")
        if not (view and colon and field):
            raise errors.InvalidRequest(
                f"`{reference}` is no feature reference; write `view:feature`", field="features"
            )
        found.append((view, field))
    return _grouped(found, full_names)


def _grouped(references: Iterable[tuple[str, str]], full_names: bool) -> Mapping[str, Mapping[str, str]]:
    """By view, in the order asked: what each feature is called in the answer, and its field."""
    by_view: dict[str, dict[str, str]] = {}
    names: set[str] = set()
    for view, field in references:
        name = f"{view}__{field}" if full_names else field
        if name in names:
            raise errors.InvalidRequest(
                f"two features are called `{name}`; ask with `full_feature_names`", field="features"
            )
        names.add(name)
        by_view.setdefault(view, {})[name] = field
    return by_view


def _of_service(name: str, services: Iterable[schema.FeatureService]) -> list[tuple[str, str]]:
    known = {service.name: service for service in services}
    if name not in known:
        raise _unknown("feature_service", name, known)
    return [(view.name, field.name) for view in known[name].views for field in view.fields]


def _unknown(resource: str, name: str, known: Iterable[str]) -> errors.NotFound:
    close = tuple(difflib.get_close_matches(name, list(known), n=3))
    hint = f"did you mean `{close[0]}`" if close else f"known are {sorted(known)}"
    return errors.NotFound(
        f"no {resource.replace('_', ' ')} `{name}` is served here; {hint}",
        resource=resource,
        name=name,
        did_you_mean=close,
    )
