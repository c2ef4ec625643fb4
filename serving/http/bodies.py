"""Bodies in and out: a limit before parsing, strict JSON, contracts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from mainspring.core import errors
from mainspring.serving.http import errors as http_errors
from mainspring.serving.http import payload

M = TypeVar("M", bound=BaseModel)

#: Where a description says which contract a body is of.
NAMED: Final = "x-contract"


async def read(request: Request, model: type[M], limits: payload.Limits) -> M:
    """The body as `model`.

    Errors: those of :func:`payload.receive_body`; InvalidRequest for text that is not JSON (NaN is not) or not the
    contract.
    """
    return parse(await payload.receive_body(request.receive, dict(request.headers), limits), model)


def parse(body: bytes | bytearray, model: type[M]) -> M:
    """JSON as `model`. Errors: InvalidRequest, as above."""
    try:
        return model.model_validate(orjson.loads(body))
    except orjson.JSONDecodeError as error:
        raise errors.InvalidRequest(
            f"body is not JSON: {error}; send one JSON object", field="body"
        ) from error
    except ValidationError as error:
        raise http_errors.from_validation(error) from error


def answer(content: BaseModel | Sequence[BaseModel]) -> Response:
    """A contract, or a list of them, as JSON."""
    if isinstance(content, BaseModel):
        return Response(content.model_dump_json(), media_type="application/json")
    return Response(orjson.dumps([c.model_dump(mode="json") for c in content]), media_type="application/json")


def documented(model: type[BaseModel]) -> dict[str, Any]:
    """What OpenAPI says of a body that :func:`read` parses; `openapi.py` puts the schema in the place of the name."""
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {NAMED: model.__name__}}},
        }
    }
