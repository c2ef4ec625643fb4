"""Tensors and parameters between the protocol's messages and arrays, under the same checks as REST."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors
from mainspring.serving.grpc import schema
from mainspring.serving.models import datatypes, tensor_model
from mainspring.serving.protocols.v2 import request

_Response: Final = schema.message("ModelInferResponse")

#: Field of InferTensorContents by datatype; FP16 and BF16 have none.
_CONTENTS: Final[Mapping[str, str]] = {
    "BOOL": "bool_contents",
    **{f"INT{bits}": "int_contents" for bits in (8, 16, 32)},
    **{f"UINT{bits}": "uint_contents" for bits in (8, 16, 32)},
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def read(asked: Any, signature: tensor_model.Signature) -> request.InferRequest:
    """A ModelInferRequest as checked arrays, which may be read-only views of it.

    Errors: InvalidRequest, SchemaMismatch; both name the tensor.
    """
    parameters = scalars(asked.parameters) if asked.parameters else {}
    request.check_parameters(parameters)
    raw = asked.raw_input_contents
    if raw and len(raw) != len(asked.inputs):
        raise errors.InvalidRequest(
            f"`raw_input_contents` has {len(raw)} entries for {len(asked.inputs)} inputs; send all inputs raw, or none",
            field="raw_input_contents",
        )
    inputs: dict[str, NDArray[Any]] = {}
    for i, tensor in enumerate(asked.inputs):
        spec = request.spec_of(tensor.name, inputs, signature)
        shape = tuple(tensor.shape)
        request.check_shape(spec, tensor.datatype, shape, signature)
        if tensor.parameters:
            request.check_parameters(scalars(tensor.parameters))
        count = math.prod(shape)
        if not raw:
            values = _contents(tensor, spec, count)
        elif tensor.HasField("contents"):
            raise errors.InvalidRequest(
                f"input `{spec.name}` has `contents` beside `raw_input_contents`; send one of them",
                field=spec.name,
            )
        else:
            values = datatypes.read_raw(raw[i], spec.type, count, spec.name)
        inputs[spec.name] = values.reshape(shape)
    request.check_inputs(inputs, signature)
    return request.InferRequest(
        inputs,
        _wanted(asked, signature),
        asked.id,
        request.timeout_of(parameters),
        parameters,
        request.priority_of(parameters),
    )


def write(model: str, answer: tensor_model.Inferred, asked: request.InferRequest) -> Any:
    """The answer as a ModelInferResponse; outputs are raw."""
    response = _Response(model_name=model, model_version=answer.version, id=asked.id)
    for want in asked.outputs:
        spec, values = want.spec, answer.outputs[want.spec.name]
        response.outputs.add(name=spec.name, datatype=spec.datatype, shape=values.shape)
        response.raw_output_contents.append(datatypes.write_raw(values, spec.type))
    return response


def scalars(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A map of parameters as Python values; one that is not set is None."""
    return {
        name: None if (field := value.WhichOneof("parameter_choice")) is None else getattr(value, field)
        for name, value in parameters.items()
    }


def _contents(tensor: Any, spec: tensor_model.TensorSpec, count: int) -> NDArray[Any]:
    field = _CONTENTS.get(spec.datatype)
    if field is None:
        raise errors.InvalidRequest(
            f"input `{spec.name}` is {spec.datatype}, which has no `contents`; send it in `raw_input_contents`",
            field=spec.name,
        )
    elements = getattr(tensor.contents, field)
    if len(elements) != count:
        raise errors.InvalidRequest(
            f"input `{spec.name}` has {len(elements)} elements in `{field}`, its shape has {count}; send one for each",
            field=spec.name,
        )
    if spec.type.kind == "bytes":
        values = np.empty(count, object)
        values[:] = list(elements)
        return values
    try:
        return np.array(elements, spec.type.numpy)
    except OverflowError as error:
        raise errors.InvalidRequest(
            f"input `{spec.name}` has a number out of the range of {spec.datatype}; send a smaller one",
            field=spec.name,
        ) from error


def _wanted(asked: Any, signature: tensor_model.Signature) -> tuple[request.Wanted, ...]:
    if not asked.outputs:
        return tuple([request.Wanted(spec, True) for spec in signature.outputs])
    wanted: dict[str, request.Wanted] = {}
    for output in asked.outputs:
        spec = request.output_of(output.name, signature)
        if output.name in wanted:
            raise errors.InvalidRequest(f"output `{output.name}` is asked twice; ask once", field="outputs")
        request.check_parameters(scalars(output.parameters))
        wanted[output.name] = request.Wanted(spec, True)
    return tuple(wanted.values())
