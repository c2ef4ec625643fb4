"""`/api/v1/lineage`, where OpenLineage's own HTTP transport posts, and the questions about it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, get_args

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from mainspring.core import errors
from mainspring.core.contracts import lineage
from mainspring.platform import plane as control_plane
from mainspring.platform.lineage import rows, service


@post(["/api/v1/lineage", "/v1/lineage"], tags=["lineage"])
async def record_lineage(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    data: JSONBody[dict[str, Any]],
) -> lineage.LineageReceipt:
    """Take one OpenLineage run event. Roles: service, developer. Idempotent by content."""
    return await service.record(plane, credential, data)


@get(
    ["/api/v1/lineage/{namespace:str}/{question:str}", "/v1/lineage/{namespace:str}/{question:str}"],
    tags=["lineage"],
)
async def ask_lineage(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    namespace: FromPath[str],
    question: FromPath[str],
    version: FromQuery[str] = "",
    column: FromQuery[str] = "",
    kind: FromQuery[str] = "",
) -> lineage.LineageGraph:
    """`<dataset>:upstream` or `<dataset>:downstream`; names with slashes go to `/api/v1/lineage:walk`."""
    name, _, word = question.rpartition(":")
    return await _walk(plane, credential, word, namespace, name, version, column, kind)


@get("/api/v1/lineage:walk", tags=["lineage"])
async def walk_lineage(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    direction: FromQuery[str],
    namespace: FromQuery[str],
    name: FromQuery[str],
    version: FromQuery[str] = "",
    column: FromQuery[str] = "",
    kind: FromQuery[str] = "",
) -> lineage.LineageGraph:
    """The same question with every name in the query: outside systems call their datasets `s3://bucket/key`."""
    return await _walk(plane, credential, direction, namespace, name, version, column, kind)


@get("/api/v1/lineage:rows", tags=["lineage"])
async def prediction_rows(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromQuery[str],
    model_version: FromQuery[str],
    as_of: FromQuery[datetime],
    entity: FromQuery[list[str]],
) -> lineage.PredictionRows:
    """The row of each view that a prediction came from; `entity` is `key:value`, once for each join key."""
    if as_of.tzinfo is None:
        raise errors.InvalidRequest(
            f"`as_of` is `{as_of}`, expected a time zone; write 2013-12-01T10:00:00Z", field="as_of"
        )
    named = {}
    for one in entity:
        key, colon, value = one.partition(":")
        if not (key and colon):
            raise errors.InvalidRequest(f"`{one}` is no entity key; write `key:value`", field="entity")
        named[key] = value
    return await rows.rows_of(
        plane, credential, project=project, model_version=model_version, entity=named, as_of=as_of
    )


async def _walk(
    plane: control_plane.ControlPlane,
    credential: str,
    direction: str,
    namespace: str,
    name: str,
    version: str,
    column: str,
    kind: str,
) -> lineage.LineageGraph:
    for known in get_args(lineage.Direction):
        if direction == known and name:
            return await service.walk(
                plane,
                credential,
                known,
                namespace=namespace,
                name=name,
                version=version,
                column=column,
                kind=kind,
            )
    raise errors.InvalidRequest(
        f"`{direction}` is no direction; ask for `<dataset>:upstream` or `<dataset>:downstream`",
        field="direction",
    )


HANDLERS = (record_lineage, ask_lineage, walk_lineage, prediction_rows)
