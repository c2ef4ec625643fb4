"""The v2 codec against bytes nobody meant well: every refusal is typed, memory stays near the body's size."""

from __future__ import annotations

import json
import struct
import tracemalloc
from typing import Any

import ml_dtypes
import msgspec
import numpy as np
import orjson
import pytest
import serving_tensors as tensors
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.core import errors
from mainspring.serving.models import datatypes, tensor_model
from mainspring.serving.protocols.v2 import json_tensors, request, response

MODELS = {name: make() for name, make in tensors.models().items()}
EVERYTHING = MODELS["everything"].signature("")
FUZZ = settings(max_examples=200, deadline=None)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    scalars,
    lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=8), v, max_size=4),
    max_leaves=12,
)
dimensions = st.integers(-2, 5) | st.sampled_from(
    [0, 1 << 31, 1 << 32, 1 << 62, (1 << 63) - 1, 1 << 63, 1 << 70]
)
parameters = st.dictionaries(
    st.sampled_from(["binary_data_size", "classification", "binary_data", "timeout", "priority", "z"]),
    dimensions | values,
    max_size=3,
)
one_tensor = st.fixed_dictionaries(
    {
        "name": st.sampled_from([s.name for s in EVERYTHING.inputs]) | st.text(max_size=5),
        "datatype": st.sampled_from(sorted(datatypes.DATATYPES)) | st.text(max_size=5),
        "shape": st.lists(dimensions, max_size=4) | values,
    },
    optional={"parameters": parameters, "data": values | st.lists(scalars, max_size=6)},
)
documents = st.fixed_dictionaries(
    {"inputs": st.lists(one_tensor, max_size=3) | values},
    optional={
        "id": st.text(max_size=5) | values,
        "parameters": parameters,
        "outputs": st.lists(
            st.fixed_dictionaries({"name": st.text(max_size=5)}, optional={"parameters": parameters}),
            max_size=2,
        ),
    },
)


def refused_or_answered(body: bytes, length: int | None, signature: tensor_model.Signature) -> None:
    """Whatever the body is, the codec gives a request that fits or an error that travels."""
    try:
        asked = request.read(body, length, signature)
    except (errors.InvalidRequest, errors.SchemaMismatch) as error:
        assert set(json.loads(response.error(error))) == {"error"}
        return
    assert set(asked.inputs) == set(signature.inputs_by_name)
    for spec in signature.inputs:
        array = asked.inputs[spec.name]
        assert array.dtype == spec.type.numpy
        assert tensor_model.fits(spec.shape, array.shape)


@FUZZ
@given(document=documents, binary=st.binary(max_size=64), off=st.integers(-3, 3))
def test_any_document_with_any_bytes(document: Any, binary: bytes, off: int) -> None:
    head = json.dumps(document).encode()  # json, not orjson: it writes NaN and huge integers too
    for model in MODELS.values():
        refused_or_answered(head + binary, max(0, len(head) + off), model.signature(""))
        refused_or_answered(head, None, model.signature(""))


@FUZZ
@given(body=st.binary(max_size=200), length=st.none() | st.integers(0, 300))
def test_any_bytes(body: bytes, length: int | None) -> None:
    for model in MODELS.values():
        refused_or_answered(body, length, model.signature(""))


@FUZZ
@given(
    datatype=st.sampled_from(sorted(datatypes.DATATYPES)),
    shape=st.tuples(dimensions, dimensions),
    raw=st.binary(max_size=100),
    cut=st.integers(0, 100),
)
def test_any_tensor_of_any_shape(datatype: str, shape: tuple[int, int], raw: bytes, cut: int) -> None:
    head = orjson.dumps(
        {
            "inputs": [
                {
                    "name": "x",
                    "datatype": datatype,
                    "shape": [min(n, (1 << 64) - 1) for n in shape],
                    "parameters": {"binary_data_size": len(raw)},
                }
            ]
        }
    )
    refused_or_answered((head + raw)[: len(head) + cut], len(head), tensors.echo(datatype).signature(""))


@FUZZ
@given(texts=st.lists(st.binary(max_size=20), min_size=1, max_size=9), data=st.data())
def test_bytes_go_round_and_torn_ones_are_refused(texts: list[bytes], data: st.DataObject) -> None:
    array = np.empty(len(texts), object)
    array[:] = texts
    datatype = datatypes.DATATYPES["BYTES"]
    raw = datatypes.write_raw(array, datatype)
    assert datatypes.read_raw(raw, datatype, len(texts), "x").tolist() == texts
    cut = data.draw(st.integers(0, len(raw) - 1))
    with pytest.raises(errors.InvalidRequest):
        datatypes.read_raw(raw[:cut], datatype, len(texts), "x")
    for count in (len(texts) - 1, len(texts) + 1):
        with pytest.raises(errors.InvalidRequest):
            datatypes.read_raw(raw, datatype, count, "x")


@FUZZ
@given(bits=st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=20))
def test_bf16_rounds_as_the_reference_does(bits: list[int]) -> None:
    floats = np.array(bits, np.uint32).view(np.float32)
    raw = datatypes.write_raw(floats, datatypes.DATATYPES["BF16"])
    with np.errstate(invalid="ignore", over="ignore"):
        expected = floats.astype(ml_dtypes.bfloat16)
    got = np.frombuffer(raw, ml_dtypes.bfloat16)
    np.testing.assert_array_equal(got.astype(np.float32), expected.astype(np.float32))
    back = datatypes.read_raw(raw, datatypes.DATATYPES["BF16"], len(bits), "x")
    np.testing.assert_array_equal(back, got.astype(np.float32))


@FUZZ
@given(
    rows=st.lists(
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3),
        min_size=1,
        max_size=5,
    )
)
def test_json_flat_and_nested_are_the_same_and_go_round(rows: list[list[float]]) -> None:
    datatype = datatypes.DATATYPES["FP32"]
    shape = (len(rows), 3)
    nested = json_tensors.read(msgspec.Raw(orjson.dumps(rows)), datatype, shape, "x")
    flat = json_tensors.read(
        msgspec.Raw(orjson.dumps([v for row in rows for v in row])), datatype, shape, "x"
    )
    np.testing.assert_array_equal(nested, np.array(rows, np.float32))
    np.testing.assert_array_equal(nested, flat)
    written = orjson.dumps(json_tensors.write(nested, datatype, "x"), option=orjson.OPT_SERIALIZE_NUMPY)
    np.testing.assert_array_equal(np.array(json.loads(written), np.float32), nested.ravel())


def hostile() -> dict[str, tuple[bytes, int | None]]:
    """Small bodies that claim to be enormous or are nested without end."""

    def says(datatype: str, shape: list[int], size: int) -> tuple[bytes, int]:
        given = {"name": "x", "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}
        head = json.dumps({"inputs": [given]}).encode()
        return head + b"\0" * 64, len(head)

    deep = b"[" * 100_000
    head = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":'
    return {
        "a shape whose product wraps to 0 in 64 bits": says("FP32", [1 << 32, 1 << 32], 0),
        "a shape of 2^62 floats": says("FP32", [1 << 31, 1 << 31], 64),
        "2^40 strings": says("BYTES", [1 << 20, 1 << 20], 64),
        "a string of 4 GiB": (lambda s: (s[0][: s[1]] + struct.pack("<I", 0xFFFFFFFF) * 16, s[1]))(
            says("BYTES", [1, 1], 64)
        ),
        "a size of 2^62": says("FP32", [1, 1], 1 << 62),
        "a JSON length of 2^62": (b"{}", 1 << 62),
        "deep data": (head + deep, None),
        "deep parameters": (b'{"inputs":[],"parameters":{"a":' + deep + b"}}", None),
        "deep unknown field": (b'{"a":' + deep, None),
        "a million digits": (head + b"[1" + b"0" * 1_000_000 + b"]}]}", None),
    }


@pytest.mark.parametrize("case", sorted(hostile()))
def test_a_hostile_body_takes_no_memory(case: str) -> None:
    body, length = hostile()[case]
    signature = tensors.echo("BYTES" if "string" in case else "FP32").signature("")
    tracemalloc.start()
    try:
        with pytest.raises((errors.InvalidRequest, errors.SchemaMismatch)):
            request.read(body, length, signature)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(body) + 200_000


def test_integers_keep_every_bit_and_refuse_what_does_not_fit() -> None:
    for name, low, high in (
        ("INT64", -(1 << 63), (1 << 63) - 1),
        ("UINT64", 0, (1 << 64) - 1),
        ("INT8", -128, 127),
    ):
        datatype = datatypes.DATATYPES[name]
        array = json_tensors.read(msgspec.Raw(json.dumps([low, high]).encode()), datatype, (2,), "x")
        assert array.tolist() == [low, high]
        for outside in (low - 1, high + 1):
            with pytest.raises(errors.InvalidRequest, match="out of the range"):
                json_tensors.read(msgspec.Raw(json.dumps([outside]).encode()), datatype, (1,), "x")
        with pytest.raises(errors.InvalidRequest, match=f"is not {name}"):
            json_tensors.read(msgspec.Raw(b"[1.5]"), datatype, (1,), "x")


@pytest.mark.parametrize("name", ["FP16", "BF16"])
def test_half_floats_have_no_json(name: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="no JSON form"):
        json_tensors.read(msgspec.Raw(b"[1]"), datatypes.DATATYPES[name], (1,), "x")
    with pytest.raises(errors.InvalidRequest, match="no JSON form"):
        json_tensors.write(np.zeros(1, datatypes.DATATYPES[name].numpy), datatypes.DATATYPES[name], "y")


def test_a_bool_byte_is_0_or_1() -> None:
    with pytest.raises(errors.InvalidRequest, match="BOOL byte of 2"):
        datatypes.read_raw(b"\1\0\2", datatypes.DATATYPES["BOOL"], 3, "x")


def test_a_tensor_that_starts_anywhere_is_aligned() -> None:
    raw = np.arange(9, dtype=np.float32).tobytes()
    for offset in range(4):
        view = memoryview(b"x" * offset + raw)[offset:]
        array = datatypes.read_raw(view, datatypes.DATATYPES["FP32"], 9, "x")
        assert array.flags.aligned
        assert array.tolist() == list(range(9))
