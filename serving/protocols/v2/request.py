"""An infer request of the v2 REST protocol, JSON or with binary tensors, as checked arrays.

Every size is checked against the bytes that are there before anything of that size is made, so a request takes memory
in proportion to its body, whatever its shapes say.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors
from mainspring.serving.models import datatypes, tensor_model
from mainspring.serving.protocols.v2 import json_tensors

_NOTHING: Final = msgspec.Raw(b"")
_MAX_DIMENSION: Final = (1 << 63) - 1

#: Parameters that ask for what is not done here. Ignoring them would give a wrong answer.
REFUSED: Final[Mapping[str, str]] = {
    "classification": "classification is not offered; take the whole output and sort it",
    "shared_memory_region": "shared memory is not offered; send the tensor in the request",
    "sequence_id": "sequences are not offered; send each request whole",
    "sequence_start": "sequences are not offered; send each request whole",
    "sequence_end": "sequences are not offered; send each request whole",
}


class JsonTensor(msgspec.Struct):
    """One input as it is written in JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: msgspec.Raw = _NOTHING


class JsonOutput(msgspec.Struct):
    """One requested output as it is written in JSON."""

    name: str
    parameters: dict[str, Any] = {}


class JsonInfer(msgspec.Struct):
    """The JSON part of a request. Fields it does not know are ignored: extensions add some."""

    inputs: list[JsonTensor]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[JsonOutput] = []


@dataclass(frozen=True, slots=True)
class Wanted:
    """One output that the caller wants, and how."""

    spec: tensor_model.TensorSpec
    binary: bool = False


@dataclass(slots=True)
class InferRequest:
    """A request whose inputs fit the model's signature."""

    inputs: dict[str, NDArray[Any]]
    outputs: tuple[Wanted, ...]
    id: str = ""
    timeout_seconds: float = math.inf
    parameters: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    """1 is the highest; 0: none is asked for."""


_DECODER: Final = msgspec.json.Decoder(JsonInfer)


def read(body: bytes | bytearray, json_length: int | None, signature: tensor_model.Signature) -> InferRequest:
    """The request of `body`, whose first `json_length` bytes are JSON; None: all of it is.

    0 is the raw form: the whole body is the one input of a model that has one, and its shape follows from its size.
    Input arrays may be read-only views of `body`.
    Errors: InvalidRequest, SchemaMismatch; both name the tensor.
    """
    if json_length is None:
        return _checked(_parse(body), memoryview(b""), signature)
    if json_length > len(body):
        raise errors.InvalidRequest(
            f"`Inference-Header-Content-Length` is {json_length}, the body has {len(body)} bytes; send the length of"
            " its JSON part",
            field="inference-header-content-length",
        )
    view = memoryview(body)
    if json_length == 0:
        return _raw(view, signature)
    return _checked(_parse(view[:json_length]), view[json_length:], signature)


def json_length(header: str | None) -> int | None:
    """The value of `Inference-Header-Content-Length`. Errors: InvalidRequest if it is no number."""
    if header is None:
        return None
    if not (header.isascii() and header.isdigit() and len(header) < 19):
        raise errors.InvalidRequest(
            f"`Inference-Header-Content-Length` is `{header[:40]}`, expected a number of bytes; correct it",
            field="inference-header-content-length",
        )
    return int(header)


def check_shape(
    spec: tensor_model.TensorSpec, datatype: str, shape: tuple[int, ...], signature: tensor_model.Signature
) -> None:
    """Whether a tensor that says it is so fits. Errors: SchemaMismatch, InvalidRequest."""
    if datatype != spec.datatype:
        raise errors.SchemaMismatch(
            f"input `{spec.name}` is {datatype[:20]}, expected {spec.datatype}; send {spec.datatype}",
            feature=spec.name,
            expected=spec.datatype,
            got=datatype[:20],
        )
    if not tensor_model.fits(spec.shape, shape) or min(shape) < 1 or max(shape) > _MAX_DIMENSION:
        raise errors.SchemaMismatch(
            f"input `{spec.name}` has shape {list(shape[:16])}, expected {list(spec.shape)} with dimensions of at least 1;"
            " send that shape",
            feature=spec.name,
            expected=str(list(spec.shape)),
            got=str(list(shape[:16])),
        )
    if signature.max_batch_size and shape[0] > signature.max_batch_size:
        raise errors.InvalidRequest(
            f"input `{spec.name}` has {shape[0]} rows, expected 1 to {signature.max_batch_size}; split the request",
            field=spec.name,
        )


def check_inputs(
    inputs: Mapping[str, NDArray[Any]], signature: tensor_model.Signature
) -> Mapping[str, NDArray[Any]]:
    """Whether every input is there and, in a batch, all have one length. Errors: InvalidRequest."""
    if len(inputs) != len(signature.inputs):
        absent = [spec.name for spec in signature.inputs if spec.name not in inputs]
        raise errors.InvalidRequest(f"input `{absent[0]}` is absent; send it", field=absent[0])
    if signature.max_batch_size and len(inputs) > 1:
        lengths = {array.shape[0] for array in inputs.values()}
        if len(lengths) > 1:
            raise errors.InvalidRequest(
                f"inputs have {', '.join(map(str, sorted(lengths)))} rows; send all of one length",
                field="inputs",
            )
    return inputs


def spec_of(name: str, taken: Iterable[str], signature: tensor_model.Signature) -> tensor_model.TensorSpec:
    """The input called `name`. Errors: InvalidRequest if the model has none, or the request has two."""
    spec = signature.inputs_by_name.get(name)
    if spec is None:
        names = ", ".join(f"`{n}`" for n in list(signature.inputs_by_name)[:20])
        raise errors.InvalidRequest(f"unknown input `{name[:80]}`; inputs are {names}", field="inputs")
    if name in taken:
        raise errors.InvalidRequest(f"input `{name}` is there twice; send it once", field=name)
    return spec


def output_of(name: str, signature: tensor_model.Signature) -> tensor_model.TensorSpec:
    """The output called `name`. Errors: InvalidRequest."""
    spec = signature.outputs_by_name.get(name)
    if spec is None:
        names = ", ".join(f"`{n}`" for n in list(signature.outputs_by_name)[:20])
        raise errors.InvalidRequest(f"unknown output `{name[:80]}`; outputs are {names}", field="outputs")
    return spec


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Errors: InvalidRequest for an extension that is not offered, or a value that is no scalar."""
    for name, value in parameters.items():
        if name in REFUSED and value not in (0, False, ""):
            raise errors.InvalidRequest(f"parameter `{name}`: {REFUSED[name]}", field=name)
        if not isinstance(value, str | int | float | bool):
            raise errors.InvalidRequest(
                f"parameter `{name[:80]}` is no string, number or boolean; send one of those",
                field="parameters",
            )


def timeout_of(parameters: Mapping[str, Any]) -> float:
    """Seconds of the scheduling extension's `timeout`, which is in microseconds; infinite without one."""
    value = parameters.get("timeout", 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise errors.InvalidRequest(
            "parameter `timeout` is no whole number of microseconds; send one", field="timeout"
        )
    return value / 1e6 if value else math.inf


def priority_of(parameters: Mapping[str, Any]) -> int:
    """The scheduling extension's `priority`, 0 without one. Errors: InvalidRequest."""
    value = parameters.get("priority", 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise errors.InvalidRequest(
            "parameter `priority` is no whole number; send 1 for the highest, larger ones for less, or 0",
            field="priority",
        )
    return value


def _parse(text: bytes | bytearray | memoryview) -> JsonInfer:
    try:
        return _DECODER.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise errors.InvalidRequest(
            f"body is no infer request: {str(error)[:200]}; send JSON as the v2 protocol says", field="body"
        ) from error


def _checked(asked: JsonInfer, binary: memoryview, signature: tensor_model.Signature) -> InferRequest:
    parameters = asked.parameters
    if parameters:
        check_parameters(parameters)
    inputs: dict[str, NDArray[Any]] = {}
    at = 0
    for tensor in asked.inputs:
        spec = spec_of(tensor.name, inputs, signature)
        shape = tuple(tensor.shape)
        check_shape(spec, tensor.datatype, shape, signature)
        size = _binary_size(tensor)
        if size is None:
            inputs[spec.name] = json_tensors.read(tensor.data, spec.type, shape, spec.name)
            continue
        if size > len(binary) - at:
            raise errors.InvalidRequest(
                f"input `{spec.name}` says {size} binary bytes, the body has {len(binary) - at} left; send them all",
                field=spec.name,
            )
        values = datatypes.read_raw(binary[at : at + size], spec.type, math.prod(shape), spec.name)
        inputs[spec.name] = values.reshape(shape)
        at += size
    if at != len(binary):
        raise errors.InvalidRequest(
            f"body has {len(binary) - at} bytes after its last binary tensor; correct `binary_data_size`",
            field="body",
        )
    check_inputs(inputs, signature)
    return InferRequest(
        inputs,
        _wanted(asked, signature),
        asked.id,
        timeout_of(parameters) if parameters else math.inf,
        parameters,
        priority_of(parameters) if parameters else 0,
    )


def _binary_size(tensor: JsonTensor) -> int | None:
    if not tensor.parameters:
        return None
    check_parameters(tensor.parameters)
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        return None
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise errors.InvalidRequest(
            f"`binary_data_size` of input `{tensor.name}` is no number of bytes; correct it",
            field=tensor.name,
        )
    if tensor.data != _NOTHING:
        raise errors.InvalidRequest(
            f"input `{tensor.name}` has `data` and `binary_data_size`; send one of them", field=tensor.name
        )
    return size


def _wanted(asked: JsonInfer, signature: tensor_model.Signature) -> tuple[Wanted, ...]:
    binary = _flag(asked.parameters, "binary_data_output", False)
    if not asked.outputs:
        return tuple([Wanted(spec, binary) for spec in signature.outputs])
    wanted: dict[str, Wanted] = {}
    for output in asked.outputs:
        spec = output_of(output.name, signature)
        if output.name in wanted:
            raise errors.InvalidRequest(f"output `{output.name}` is asked twice; ask once", field="outputs")
        check_parameters(output.parameters)
        wanted[output.name] = Wanted(spec, _flag(output.parameters, "binary_data", binary))
    return tuple(wanted.values())


def _flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise errors.InvalidRequest(f"parameter `{name}` is no boolean; send true or false", field=name)
    return value


def _raw(body: memoryview, signature: tensor_model.Signature) -> InferRequest:
    if len(signature.inputs) != 1:
        raise errors.InvalidRequest(
            f"a raw body needs a model of one input, this one has {len(signature.inputs)}; send the JSON part too",
            field="body",
        )
    spec = signature.inputs[0]
    wanted = tuple([Wanted(output, True) for output in signature.outputs])
    if spec.type.kind == "bytes":
        if any(n not in (-1, 1) for n in spec.shape):
            raise errors.SchemaMismatch(
                f"a raw body is one BYTES element, input `{spec.name}` has shape {list(spec.shape)}; send JSON too",
                feature=spec.name,
                expected=str(list(spec.shape)),
                got="[1]",
            )
        element = np.empty((1,) * len(spec.shape), object)
        element[...] = body.tobytes()
        return InferRequest({spec.name: element}, wanted)
    shape = _shape_of_size(spec, len(body))
    check_shape(spec, spec.datatype, shape, signature)
    values = datatypes.read_raw(body, spec.type, math.prod(shape), spec.name)
    return InferRequest({spec.name: values.reshape(shape)}, wanted)


def _shape_of_size(spec: tensor_model.TensorSpec, n_bytes: int) -> tuple[int, ...]:
    fixed = math.prod(n for n in spec.shape if n != -1) * spec.type.size
    if spec.shape.count(-1) > 1 or n_bytes % fixed:
        raise errors.InvalidRequest(
            f"{n_bytes} bytes do not say the shape of input `{spec.name}`, {list(spec.shape)} {spec.datatype}; send the"
            " JSON part too",
            field=spec.name,
        )
    return tuple(n_bytes // fixed if n == -1 else n for n in spec.shape)
