"""An answer of the v2 REST protocol as bytes: JSON, and binary tensors after it for the outputs asked so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from mainspring.core import errors
from mainspring.serving.models import datatypes, tensor_model
from mainspring.serving.protocols.v2 import json_tensors, request


@dataclass(frozen=True, slots=True)
class Encoded:
    """`json_length` is None when the whole body is JSON."""

    body: bytes
    json_length: int | None


def write(
    model: str, answer: tensor_model.Inferred, wanted: Sequence[request.Wanted], request_id: str
) -> Encoded:
    """The answer with the outputs wanted, in their order.

    Errors: InvalidRequest for an output wanted as JSON that JSON cannot carry.
    """
    outputs: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for want in wanted:
        spec = want.spec
        values = answer.outputs[spec.name]
        output: dict[str, Any] = {
            "name": spec.name,
            "datatype": spec.datatype,
            "shape": values.shape,
        }
        if want.binary:
            raw = datatypes.write_raw(values, spec.type)
            output["parameters"] = {"binary_data_size": len(raw)}
            binary.append(raw)
        else:
            output["data"] = json_tensors.write(values, spec.type, spec.name)
        outputs.append(output)
    document: dict[str, Any] = {
        "model_name": model,
        "model_version": answer.version,
        "outputs": outputs,
    }
    if request_id:
        document["id"] = request_id
    head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    if not binary:
        return Encoded(head, None)
    return Encoded(b"".join([head, *binary]), len(head))


def error(cause: errors.MainspringError) -> bytes:
    """What v2 clients read of an error."""
    return orjson.dumps({"error": cause.message})
