"""Bodies in and out: a limit before parsing, strict JSON, contracts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import orjson
from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError

from mainspring.core import errors
from mainspring.serving.http import errors as http_errors

M = TypeVar("M", bound=BaseModel)


async def read(request: Request, model: type[M], *, max_bytes: int) -> M:
    """The body as `model`.

    Errors: BodyTooLarge as soon as the limit is passed, whatever the header says; InvalidRequest for text that is
    not JSON (NaN is not) or not the contract.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
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
    """What OpenAPI says of a body that :func:`read` parses."""
    schema = model.model_json_schema(ref_template=f"#/components/schemas/{model.__name__}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _too_large(max_bytes: int) -> http_errors.BodyTooLarge:
    return http_errors.BodyTooLarge(
        f"body is larger than {max_bytes} bytes; split it, or raise `serving.max_body_bytes`", field="body"
    )
