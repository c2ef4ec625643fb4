"""OpenLineage run events, anybody's, as nodes and edges. Pure: no client of theirs, no clock, no store."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from mainspring.core import canonical, errors

__all__ = ["MAX_EDGES", "Dataset", "Edge", "Event", "Node", "edges", "parse"]

#: Names longer than this are no names.
_LONGEST: Final = 1000
#: More edges than that are no job's work; datasets multiply, and a body of a megabyte could say a hundred million.
MAX_EDGES: Final = 200_000
_TYPES: Final = ("START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER")


@dataclass(frozen=True, order=True)
class Node:
    """A dataset of one version; with `column`, one of its columns."""

    namespace: str
    name: str
    version: str = ""
    column: str = ""


@dataclass(frozen=True)
class Dataset:
    """One input or output. `sources[column]` and `whole` are input columns as (namespace, name, column).

    `says_columns`: it came with column lineage, so that what that does not name is not related.
    """

    node: Node
    kind: str
    columns: tuple[str, ...]
    sources: Mapping[str, tuple[tuple[str, str, str], ...]]
    whole: tuple[tuple[str, str, str], ...]
    says_columns: bool


@dataclass(frozen=True)
class Edge:
    source: Node
    target: Node


@dataclass(frozen=True)
class Event:
    """One event; `digest` names its content: sent twice, it is one."""

    type: str
    time: datetime
    run_id: str
    job_namespace: str
    job_name: str
    inputs: tuple[Dataset, ...]
    outputs: tuple[Dataset, ...]
    digest: str


def parse(value: Any) -> Event:
    """Errors: InvalidRequest that names the field; dataset and job events, which tell of no run, are refused so too."""
    event = _object(value, "event")
    if "run" not in event:
        raise _invalid("run", "a run event", "an event of a dataset or of a job")
    run, job = _object(event["run"], "run"), _object(event.get("job"), "job")
    kind = event.get("eventType", "OTHER")
    if kind not in _TYPES:
        raise _invalid("eventType", f"one of {list(_TYPES)}", repr(kind))
    return Event(
        type=kind,
        time=_time(event.get("eventTime")),
        run_id=_uuid(run.get("runId")),
        job_namespace=_text(job.get("namespace"), "job.namespace"),
        job_name=_text(job.get("name"), "job.name"),
        inputs=_datasets(event.get("inputs"), "inputs"),
        outputs=_datasets(event.get("outputs"), "outputs"),
        digest=canonical.digest(event),
    )


def edges(events: Sequence[Event]) -> dict[Edge, None]:
    """What one run's events together say, in order: a run's inputs may come with its start, its outputs with its end.

    Only a run that completed made anything. Where an output says which columns it was made of, those alone count;
    where it does not, every column that was read may be in it.
    Errors: InvalidRequest for more than MAX_EDGES.
    """
    if not any(event.type == "COMPLETE" for event in events):
        return {}
    inputs = {d.node: d for e in events for d in e.inputs}
    outputs = {d.node: d for e in events for d in e.outputs}
    made: dict[Edge, None] = {}
    for output in outputs.values():
        whole = (Edge(source.node, output.node) for source in inputs.values())
        for edge in itertools.chain(whole, _of_columns(inputs.values(), output)):
            if edge.source != edge.target:
                made[edge] = None
            if len(made) > MAX_EDGES:
                raise errors.InvalidRequest(
                    f"the run says more than {MAX_EDGES} edges; tell which columns came from which (columnLineage), or"
                    " fewer datasets in one run",
                    field="outputs",
                )
    return made


def _of_columns(inputs: Iterable[Dataset], output: Dataset) -> Iterable[Edge]:
    known = list(inputs)
    versions: dict[tuple[str, str], list[str]] = {}
    for one in known:
        versions.setdefault((one.node.namespace, one.node.name), []).append(one.node.version)

    def columns(named: Iterable[tuple[str, str, str]]) -> Iterable[Node]:
        for namespace, name, column in named:
            for version in versions.get((namespace, name), [""]):
                yield Node(namespace, name, version, column)

    for column, sources in output.sources.items():
        for source in columns(sources):
            yield Edge(source, _column(output.node, column))
    for source in columns(output.whole):
        yield Edge(source, output.node)
    for column in output.columns:
        if column not in output.sources:
            for one in known:
                yield Edge(one.node, _column(output.node, column))
    if not output.says_columns:
        for one in known:
            for column in one.columns:
                yield Edge(_column(one.node, column), output.node)


def _column(dataset: Node, column: str) -> Node:
    return Node(dataset.namespace, dataset.name, dataset.version, column)


def _datasets(value: Any, where: str) -> tuple[Dataset, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise _invalid(where, "a list", type(value).__name__)
    return tuple(_dataset(one, f"{where}[{i}]") for i, one in enumerate(value))


def _dataset(value: Any, where: str) -> Dataset:
    one = _object(value, where)
    facets = _object(one.get("facets") or {}, f"{where}.facets")

    def facet(name: str) -> dict[str, Any]:
        return _object(facets.get(name) or {}, f"{where}.facets.{name}")

    lineage = facet("columnLineage")
    at = f"{where}.facets.columnLineage"
    by_column = _object(lineage.get("fields") or {}, f"{at}.fields")
    version = facet("version").get("datasetVersion", "")
    return Dataset(
        node=Node(
            _text(one.get("namespace"), f"{where}.namespace"),
            _text(one.get("name"), f"{where}.name"),
            _text(version, f"{where}.facets.version.datasetVersion") if version else "",
        ),
        kind=str(facet("datasetType").get("datasetType", ""))[:_LONGEST],
        columns=tuple(
            _text(
                _object(f, f"{where}.facets.schema.fields").get("name"), f"{where}.facets.schema.fields.name"
            )
            for f in facet("schema").get("fields") or ()
        ),
        sources={
            _text(name, f"{at}.fields"): _fields(_object(found, f"{at}.fields.{name}").get("inputFields"), at)
            for name, found in by_column.items()
        },
        whole=_fields(lineage.get("dataset"), at),
        says_columns="columnLineage" in facets,
    )


def _fields(value: Any, where: str) -> tuple[tuple[str, str, str], ...]:
    found = []
    for one in value or ():
        named = _object(one, where)
        parts = (_text(named.get(part), f"{where}.{part}") for part in ("namespace", "name", "field"))
        found.append(tuple(parts))
    return tuple((a, b, c) for a, b, c in found)


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _invalid(where, "an object", "nothing" if value is None else type(value).__name__)
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST:
        raise _invalid(where, f"a text of 1 to {_LONGEST} characters", repr(value)[:60])
    return value


def _uuid(value: Any) -> str:
    try:
        return str(uuid.UUID(_text(value, "run.runId")))
    except ValueError as error:
        raise _invalid("run.runId", "a UUID", repr(value)[:60]) from error


def _time(value: Any) -> datetime:
    try:
        found = datetime.fromisoformat(_text(value, "eventTime"))
    except ValueError as error:
        raise _invalid("eventTime", "an ISO 8601 time with its zone", repr(value)[:60]) from error
    if found.tzinfo is None:
        raise _invalid("eventTime", "an ISO 8601 time with its zone", repr(value)[:60])
    return found


def _invalid(where: str, expected: str, got: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(
        f"`{where}` of the lineage event: expected {expected}, got {got}; send an OpenLineage run event",
        field=where,
    )
