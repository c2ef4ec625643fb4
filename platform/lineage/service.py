"""Take lineage events once, and walk from a dataset or column to where it came from or goes."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity
from mainspring.core.contracts import lineage
from mainspring.core.lineage import reading
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.lineage import store

#: Edges in one answer; some 100 bytes each.
MAX_EDGES: Final = 20_000
#: Of `mainspring model import`.
IMPORT_JOB: Final = "model.import"


async def record(
    plane: control_plane.ControlPlane, credential: str, value: dict[str, Any]
) -> lineage.LineageReceipt:
    """Keep one OpenLineage run event, and what its run's events say together. The same event again is known.

    The audit log gets the event's digest, so that lineage cannot be rewritten unseen either.
    Errors: InvalidRequest that names the field; PermissionDenied unless a service or a developer asks.
    """
    event = reading.parse(value)
    job = f"{event.job_namespace}/{event.job_name}"
    # Whoever tells of a dataset writes into its project's graph, read or made.
    told = {d.node.namespace for d in (*event.inputs, *event.outputs)} - {event.job_namespace}
    namespaces = [event.job_namespace, *sorted(told)]

    async def do(
        connection: AsyncConnection, actor: identity.Actor
    ) -> mutation.Change[lineage.LineageReceipt]:
        resource = f"lineage/{job}"
        if await store.is_known(connection, event.digest):
            known = lineage.LineageReceipt(event_digest=event.digest, is_new=False, edges=0)
            return mutation.Change(known, resource, is_new=False)
        earlier = [reading.parse(e) for e in await store.events_of(connection, event.run_id)]
        await store.insert_event(connection, event, value, actor.name)
        together = [*earlier, event]
        made = list(reading.edges(together))
        kinds = {d.node: d.kind for e in together for d in (*e.inputs, *e.outputs) if d.kind}
        await store.insert_edges(connection, event, made, kinds)
        receipt = lineage.LineageReceipt(event_digest=event.digest, is_new=True, edges=len(made))
        detail = {"type": event.type, "run_id": event.run_id, "digest": event.digest, "edges": len(made)}
        return mutation.Change(receipt, resource, detail)

    return await mutation.mutate(
        plane,
        credential,
        action="lineage.record",
        resource=f"lineage/{job}",
        on=[access.project(name) for name in namespaces] + _asked_beside(event.job_namespace, event.job_name),
        do=do,
    )


def _asked_beside(project: str, job: str) -> list[access.Target]:
    """Who tells that an import begins is about to sign one: whoever may not import is told so before that."""
    if job != IMPORT_JOB:
        return []
    return [dataclasses.replace(access.project(project), action="model.import")]


async def walk(
    plane: control_plane.ControlPlane,
    credential: str,
    direction: lineage.Direction,
    *,
    namespace: str,
    name: str,
    version: str,
    column: str,
    kind: str,
) -> lineage.LineageGraph:
    """All that `direction` leads to from a dataset, or from one of its columns; of every version if none is named.

    `kind` keeps the nodes of that kind only, and then no edges: the models that a column feeds.
    Errors: NotFound with close names.
    """
    async with reads.reading(plane, credential, action="lineage.read") as reader:
        connection, visible = reader.connection, await reader.projects()
        if visible is not None and namespace not in visible:
            raise _not_found("dataset", name, [], f"namespace `{namespace}`")
        starts = await store.find(connection, namespace, name, version=version, column=column)
        if not starts:
            raise await _unknown(connection, namespace, name, version, column)
        found = await store.walk(
            connection, [row.id for row in starts], direction, limit=MAX_EDGES, visible=visible
        )
        ids = {row.id for row in starts} | {i for e in found.edges for i in (e.source, e.target)}
        rows = await store.nodes_of(connection, ids)
    steps = _steps([row.id for row in starts], found, direction)
    order = sorted(steps, key=lambda i: (steps[i], i))
    if kind:
        order = [i for i in order if rows[i].kind == kind and not rows[i].column]
    place = {i: at for at, i in enumerate(order)}
    return lineage.LineageGraph(
        direction=direction,
        nodes=[lineage.LineageNode.model_validate({**rows[i]._mapping, "steps": steps[i]}) for i in order],
        edges=[]
        if kind
        else [
            lineage.LineageEdge(source=place[e.source], target=place[e.target], job=e.job, run_id=e.run_id)
            for e in found.edges
        ],
        is_cut=found.is_cut,
    )


def _steps(starts: list[int], found: store.Found, direction: lineage.Direction) -> dict[int, int]:
    """Of every node, the fewest edges from a start."""
    nexts: dict[int, list[int]] = {}
    for edge in found.edges:
        here, there = (edge.source, edge.target) if direction == "downstream" else (edge.target, edge.source)
        nexts.setdefault(here, []).append(there)
    steps = dict.fromkeys(starts, 0)
    line = list(starts)
    for here in line:
        for there in nexts.get(here, ()):
            if there not in steps:
                steps[there] = steps[here] + 1
                line.append(there)
    return steps


async def _unknown(
    connection: AsyncConnection, namespace: str, name: str, version: str, column: str
) -> errors.NotFound:
    known = await store.names(connection, namespace)
    if name in known and column:
        columns = await store.columns(connection, namespace, name)
        if column not in columns:
            return _not_found("column", column, columns, f"dataset `{namespace}/{name}`")
    if name in known:
        return errors.NotFound(
            f"no version `{version}` of `{namespace}/{name}` is known; ask without one for all",
            resource="dataset",
            name=name,
        )
    return _not_found("dataset", name, known, f"namespace `{namespace}`")


def _not_found(resource: str, name: str, known: list[str], where: str) -> errors.NotFound:
    close = tuple(difflib.get_close_matches(name, known, n=3))
    hint = f"did you mean `{close[0]}`" if close else f"known are {known[:10]}"
    return errors.NotFound(
        f"{where} has no {resource} `{name}` in the lineage; {hint}",
        resource=resource,
        name=name,
        did_you_mean=close,
    )
