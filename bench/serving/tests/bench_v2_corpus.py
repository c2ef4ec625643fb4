"""Requests of the v2 protocol to a model `mlp`, `x` FP32 [-1, 64] to `y` FP32 [-1, 1], at most 4096 rows: right and wrong ones."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

WIDTH = 64
MAX_ROWS = 4096
INFER = "/v2/models/mlp/infer"
LENGTH = "Inference-Header-Content-Length"

_random = np.random.default_rng(7)
ROWS = _random.normal(size=(8, WIDTH)).astype(np.float32)
EDGES = np.array([[0.0, -0.0, 1e30, -3e29, 1e-45, 1.17549435e-38, 16777217, 0.1] * 8], np.float32)
#: Their sum is more than a float32 holds.
HUGE = np.full((1, WIDTH), 3e38, np.float32)


@dataclass(frozen=True)
class Case:
    """One request."""

    name: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"
    path: str = INFER


def tensor(rows: Any = ROWS[:1], **changes: Any) -> dict[str, Any]:
    """An input in JSON; a value of None leaves the key out."""
    x = np.asarray(rows, np.float32)
    made = {"name": "x", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()} | changes
    return {key: value for key, value in made.items() if value is not None}


def body(*inputs: Any, **more: Any) -> bytes:
    return json.dumps({"inputs": list(inputs), **more}).encode()


def plain(name: str, *inputs: Any, **more: Any) -> Case:
    """A case in JSON."""
    return Case(name, body(*inputs, **more))


def binary(name: str, tail: bytes, *inputs: Any, length: int | str | None = None, **more: Any) -> Case:
    """A case with bytes after its JSON; `length` is what the header says, if not the truth."""
    head = body(*inputs, **more)
    said = len(head) if length is None else length
    return Case(name, head + tail, {LENGTH: str(said)})


def packed(rows: Any = ROWS[:1], **changes: Any) -> dict[str, Any]:
    """An input whose values are among the bytes after the JSON."""
    size = np.asarray(rows, np.float32).nbytes
    return tensor(rows, data=None, parameters={"binary_data_size": size}, **changes)


def right() -> Iterator[Case]:
    """What the protocol allows."""
    one, three = ROWS[:1], ROWS[:3]
    yield plain("json, one row", tensor())
    yield plain("json, three rows", tensor(three))
    yield plain("json, nested data", tensor(three, data=three.tolist()))
    yield plain("json, with an id", tensor(), id="a b/c")
    yield plain("json, an id to escape", tensor(), id='quote " and \u00e9')
    yield plain("json, an empty id", tensor(), id="")
    yield plain("json, values at the edges", tensor(EDGES))
    yield plain("json, whole numbers", tensor(data=list(range(WIDTH))))
    yield plain("json, no outputs asked", tensor(), outputs=[])
    yield plain("json, the output asked", tensor(), outputs=[{"name": "y"}])
    yield plain("json, parameters nobody knows", tensor(parameters={"mine": 1}), parameters={"hers": "x"})
    yield plain("json, a priority", tensor(), parameters={"priority": 1})
    yield plain("json, a timeout", tensor(), parameters={"timeout": 5_000_000})
    yield plain("json, fields nobody knows", tensor(more=[1, {}]), extra={"a": None})
    yield plain(
        "json in, one output binary",
        tensor(three),
        outputs=[{"name": "y", "parameters": {"binary_data": True}}],
    )
    yield plain("json in, all outputs binary", tensor(), parameters={"binary_data_output": True})
    yield plain(
        "json in, an output says not binary",
        tensor(),
        parameters={"binary_data_output": True},
        outputs=[{"name": "y", "parameters": {"binary_data": False}}],
    )
    yield Case("json, with spaces", json.dumps(json.loads(body(tensor())), indent=3).encode() + b"\n")
    yield Case("json, version 1", body(tensor()), path="/v2/models/mlp/versions/1/infer")
    yield binary("binary in, json out", one.tobytes(), packed())
    yield binary("binary in and out", three.tobytes(), packed(three), parameters={"binary_data_output": True})
    yield binary(
        "binary, values at the edges", EDGES.tobytes(), packed(EDGES), parameters={"binary_data_output": True}
    )
    yield binary(
        "binary, no finite answer", HUGE.tobytes(), packed(HUGE), parameters={"binary_data_output": True}
    )
    yield binary(
        "binary, most rows",
        np.zeros((MAX_ROWS, WIDTH), np.float32).tobytes(),
        packed(np.zeros((MAX_ROWS, WIDTH))),
    )
    yield Case("raw", one.tobytes(), {LENGTH: "0"})
    head = body(tensor())
    yield Case("json, its length in the header", head, {LENGTH: str(len(head))})
    yield Case(
        "header in lower case", body(packed()) + one.tobytes(), {LENGTH.lower(): str(len(body(packed())))}
    )
    yield Case("gzip", gzip.compress(body(tensor())), {"Content-Encoding": "gzip"})


def wrong() -> Iterator[Case]:
    """What it does not, or this model."""
    one = ROWS[:1].tobytes()
    yield Case("no such model", body(tensor()), path="/v2/models/none/infer")
    yield Case("no such version", body(tensor()), path="/v2/models/mlp/versions/7/infer")
    yield Case("a version that is no number", body(tensor()), path="/v2/models/mlp/versions/one/infer")
    yield Case("no body")
    for text in (
        "{",
        "[]",
        "null",
        "3",
        '"x"',
        "{}",
        '{"inputs": {}}',
        '{"inputs": [3]}',
        '{"inputs": null}',
        "{'a': 1}",
    ):
        yield Case(f"the body {text}", text.encode())
    yield Case("two documents", body(tensor()) + b"{}")
    yield Case("a body that ends early", body(tensor())[:-40])
    yield Case("no utf-8", body(tensor()).replace(b'"x"', b'"\xff"'))
    yield Case("a deep body", b'{"inputs": ' + b"[" * 5000 + b"]" * 5000 + b"}")
    yield plain("no inputs")
    yield plain("an unknown input", tensor(name="z"))
    yield plain("an input twice", tensor(), tensor())
    yield plain("an input too many", tensor(), tensor(name="z"))
    for key in ("name", "shape", "datatype", "data"):
        yield plain(f"no {key}", tensor(**{key: None}))
    for datatype in ("FP64", "INT32", "BYTES", "FP31", "fp32", "", 3):
        yield plain(f"the datatype {datatype!r}", tensor(datatype=datatype))
    for shape in (
        [1, 63],
        [64],
        [1, 1, 64],
        [],
        [0, 64],
        [-1, 64],
        [2, 64],
        [1.5, 64],
        ["1", 64],
        "1,64",
        [1 << 62, 64],
    ):
        yield plain(f"the shape {shape}", tensor(shape=shape))
    values = ROWS[0].tolist()
    yield plain("a value too few", tensor(data=values[:-1]))
    yield plain("a value too many", tensor(data=[*values, 1.0]))
    yield plain("no values", tensor(data=[]))
    yield plain("values that are no list", tensor(data=3.0))
    yield plain("a string among the values", tensor(data=["1.0", *values[1:]]))
    yield plain("null among the values", tensor(data=[None, *values[1:]]))
    yield plain("an object among the values", tensor(data=[{}, *values[1:]]))
    yield plain("true among the values", tensor(data=[True, *values[1:]]))
    yield plain("ragged values", tensor(shape=[2, 64], data=[values, values[:-1]]))
    yield Case("NaN among the values", body(tensor(data=[float("nan"), *values[1:]])))
    yield Case("a number without an end", body(tensor()).replace(b'"data": [', b'"data": [1e999, ', 1))
    yield plain("an answer that JSON cannot carry", tensor(HUGE))
    yield plain("an unknown output", tensor(), outputs=[{"name": "z"}])
    yield plain("an output without a name", tensor(), outputs=[{}])
    yield plain("an output that is no object", tensor(), outputs=["y"])
    yield plain("an output twice", tensor(), outputs=[{"name": "y"}, {"name": "y"}])
    yield plain("an id that is no string", tensor(), id=[1])
    yield plain("binary_data_output that is no boolean", tensor(), parameters={"binary_data_output": "yes"})
    yield plain("a timeout that is no number", tensor(), parameters={"timeout": "soon"})
    yield plain("a sequence", tensor(), parameters={"sequence_id": 3, "sequence_start": True})
    yield plain("a classification", tensor(), outputs=[{"name": "y", "parameters": {"classification": 1}}])
    yield plain(
        "a region nobody registered",
        tensor(data=None, parameters={"shared_memory_region": "r", "shared_memory_byte_size": 256}),
    )
    yield binary("binary, a row too many for its shape", one * 2, packed())
    yield binary("binary, bytes that are not there", one[:-4], packed())
    yield binary("binary, none of them", b"", packed())
    yield binary(
        "binary, size of another shape", one, tensor(data=None, parameters={"binary_data_size": 128})
    )
    yield binary(
        "binary, a size that is no number", one, tensor(data=None, parameters={"binary_data_size": "all"})
    )
    yield binary("binary, a negative size", one, tensor(data=None, parameters={"binary_data_size": -1}))
    yield binary(
        "binary, a huge size", one, tensor(data=None, parameters={"binary_data_size": (1 << 64) - 1})
    )
    yield binary("binary, and values", one, tensor(parameters={"binary_data_size": 256}))
    yield binary(
        "binary, too many rows",
        np.zeros((MAX_ROWS + 1, WIDTH), np.float32).tobytes(),
        packed(np.zeros((MAX_ROWS + 1, WIDTH))),
    )
    for length in (10, 100_000, -1, "x", "", "1e2"):
        yield binary(f"the header length {length!r}", one, packed(), length=length)
    yield Case("binary without the header", body(packed()) + one)
    yield Case("raw, not a row", one[:-4], {LENGTH: "0"})
    yield Case("raw, nothing", b"", {LENGTH: "0"})
    yield Case("no gzip", body(tensor()), {"Content-Encoding": "gzip"})


#: Triton's process ends on it: it makes room for what a shape says before it looks at the values.
DEADLY = plain("a shape of 256 terabytes", tensor(shape=[1 << 40, WIDTH]))


def described() -> Iterator[Case]:
    """What is asked about server and models."""
    for path in (
        "/v2/health/live", "/v2/health/ready", "/v2", "/v2/models/mlp", "/v2/models/mlp/versions/1", "/v2/models/mlp/ready",
        "/v2/models/mlp/versions/1/ready", "/v2/models/mlp/config", "/v2/models/mlp/stats", "/v2/models/none",
        "/v2/models/mlp/versions/7", "/v2/models/none/ready", "/v2/models/none/config", "/v2/models/none/stats", "/v2/nothing", "/nothing",
    ):  # fmt: skip
        yield Case(f"GET {path}", method="GET", path=path)
    yield Case("GET infer", method="GET")
    yield Case("the index", b"{}", path="/v2/repository/index")
    yield Case("the index without a body", path="/v2/repository/index")
    yield Case("the index, ready ones", b'{"ready": true}', path="/v2/repository/index")
    yield Case("the index, no JSON", b"{", path="/v2/repository/index")
    yield Case("loading what is not there", b"{}", path="/v2/repository/models/none/load")
