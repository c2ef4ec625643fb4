"""The same requests to a real Triton Inference Server and to ours: the same tensors, and the same refusals.

Triton runs our own kernel over the same weights, so that a byte that differs is the server's. Where we differ on purpose,
:data:`DIFFERENT` says why; a difference that is gone has to leave it.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import bench_v2_corpus as corpus
import grpc
import numpy as np
import pytest

from mainspring.bench.serving import contestants, forms, servers
from mainspring.bench.serving.peers import commands, environments
from mainspring.serving.grpc import schema

pytestmark = pytest.mark.integration

#: Case: (Triton's status, ours, why).
DIFFERENT: dict[str, tuple[int, int, str]] = {
    "an answer that JSON cannot carry": (200, 400, "it writes Infinity, which is no JSON; ours says to ask for it in binary"),
    "NaN among the values": (200, 400, "NaN is no JSON"),
    "an output twice": (200, 400, "it answers once; the caller waits for two"),
    "a sequence": (200, 400, "it ignores a sequence at a model without one; ours keeps no state and says so"),
    "a classification": (200, 400, "an extension that ours does not have and does not announce"),
    "a region nobody registered": (404, 400, "shared memory is an extension that ours does not have"),
    "GET /v2/models/none/ready": (400, 404, "what is not there is 404, as its own metadata says"),
    "GET /v2/models/none/stats": (400, 404, "what is not there is 404, as its own metadata says"),
    "loading what is not there": (500, 401, "whoever changes what is served must say who they are"),
}  # fmt: skip

#: It calls a request that it cannot parse its own internal error; here it is the caller's, who must not send it again.
MALFORMED = (500, 400)

RIGHT, WRONG, DESCRIBED = list(corpus.right()), list(corpus.wrong()), list(corpus.described())
OURS = (servers.FRONT, servers.OURS)


@dataclass(frozen=True)
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes


def ask(server: contestants.Server, case: corpus.Case) -> Answered:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        headers = {"Content-Type": "application/json", **case.headers}
        connection.request(case.method, case.path, case.body or None, headers)
        answer = connection.getresponse()
        return Answered(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


@pytest.fixture(scope="module")
def running() -> Iterator[contestants.Running]:
    try:
        environments.found(commands.TRITON)
    except environments.NotInstalled as error:
        pytest.skip(f"Triton Inference Server is {error}")
    with contestants.running(commands.TRITON, *OURS, servers.OURS_GRPC, cpu=-1) as found:
        assert found.absent == {}
        yield found


@dataclass(frozen=True)
class Tensor:
    name: str
    datatype: str
    shape: list[int]
    values: bytes
    is_binary: bool


def tensors(answered: Answered) -> tuple[dict[str, Any], list[Tensor]]:
    """What is said beside the outputs, and the outputs with the bytes of their values."""
    length = answered.headers.get("inference-header-content-length")
    at = len(answered.body) if length is None else int(length)
    head = json.loads(answered.body[:at])
    outputs = []
    for output in head.pop("outputs"):
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            values = np.asarray(output["data"], np.float32).tobytes()
        else:
            values, at = answered.body[at : at + size], at + size
        outputs.append(Tensor(output["name"], output["datatype"], output["shape"], values, size is not None))
    assert at == len(answered.body)
    return head, outputs


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("case", RIGHT, ids=lambda case: case.name)
def test_answers_are_the_same(running: contestants.Running, case: corpus.Case, name: str) -> None:
    theirs, ours = (ask(running[who], case) for who in (commands.TRITON, name))
    assert (theirs.status, ours.status) == (200, 200), (theirs.body[:200], ours.body[:200])
    assert tensors(ours) == tensors(theirs)
    assert ours.headers["content-type"] == theirs.headers["content-type"]


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.name)
def test_refusals_are_the_same(running: contestants.Running, case: corpus.Case, name: str) -> None:
    theirs, ours = (ask(running[who], case) for who in (commands.TRITON, name))
    statuses = theirs.status, ours.status
    if case.name in DIFFERENT:
        assert statuses == DIFFERENT[case.name][:2], "this difference is another one now"
    else:
        assert statuses == MALFORMED or theirs.status == ours.status, (theirs.body[:200], ours.body[:200])
        assert 400 <= ours.status < 500
        assert theirs.body.startswith(b'{"error":')  # it repeats names as they came, UTF-8 or not
    assert ours.headers["content-type"] == "application/json"
    said = json.loads(ours.body)
    assert list(said) == ["error"]
    assert isinstance(said["error"], str)
    # It has to be usable after all of them.
    assert ask(running[name], RIGHT[0]).status == 200


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("case", DESCRIBED, ids=lambda case: case.name)
def test_descriptions_have_the_same_status(
    running: contestants.Running, case: corpus.Case, name: str
) -> None:
    theirs, ours = (ask(running[who], case) for who in (commands.TRITON, name))
    if case.name in DIFFERENT:
        assert (theirs.status, ours.status) == DIFFERENT[case.name][:2], "this difference is another one now"
    else:
        statuses = theirs.status, ours.status
        assert statuses == MALFORMED or theirs.status == ours.status, (theirs.body[:200], ours.body[:200])


def both(running: contestants.Running, name: str, path: str, method: str = "GET") -> list[Any]:
    case = corpus.Case(path, method=method, path=path)
    return [json.loads(ask(running[who], case).body) for who in (commands.TRITON, name)]


@pytest.mark.parametrize("name", OURS)
def test_the_model_is_described_in_the_same_words(running: contestants.Running, name: str) -> None:
    for path in ("/v2/models/mlp", "/v2/models/mlp/versions/1"):
        theirs, ours = both(running, name, path)
        assert (theirs.pop("platform"), ours.pop("platform")) == ("mainspring", "mainspring_native")
        assert ours == theirs
    theirs, ours = both(running, name, "/v2/models/mlp/config")
    assert set(ours) <= {*theirs, "model_transaction_policy"}
    for key in ("name", "backend", "version_policy", "max_batch_size"):
        assert ours[key] == theirs[key]
    for key in ("input", "output"):
        for mine, yours in zip(ours[key], theirs[key], strict=True):
            assert mine == {k: yours[k] for k in ("name", "data_type", "dims")}
    theirs, ours = both(running, name, "/v2/repository/index", "POST")
    found = [[e for e in entries if e["name"] == "mlp"] for entries in (theirs, ours)]
    assert [{**e, "reason": ""} for e in found[0]] == found[1]
    theirs, ours = both(running, name, "/v2")
    assert set(ours) == {"name", "version", "extensions"} == set(theirs)
    assert set(ours["extensions"]) <= set(theirs["extensions"])


@pytest.mark.parametrize("name", OURS)
def test_statistics_count_the_same(running: contestants.Running, name: str) -> None:
    def counts(who: str) -> dict[str, Any]:
        case = corpus.Case("stats", method="GET", path="/v2/models/mlp/stats")
        (found,) = json.loads(ask(running[who], case).body)["model_stats"]
        shown = {f"{key}.count": value["count"] for key, value in found["inference_stats"].items()}
        assert set(found["inference_stats"]["success"]) == {"count", "ns"}
        return shown | {key: found[key] for key in ("inference_count", "execution_count")}

    grown = []
    for who in (commands.TRITON, name):
        before = counts(who)
        for _ in range(3):
            assert ask(running[who], RIGHT[1]).status == 200
        assert ask(running[who], WRONG[1]).status == 404
        after = counts(who)
        grown.append({key: after[key] - before[key] for key in before})
    assert grown[0] == grown[1]
    assert grown[1]["inference_count"] == 9


def message(**changes: Any) -> Any:
    """A ModelInferRequest of two rows."""
    asked = schema.message("ModelInferRequest")(model_name="mlp", id="7")
    asked.inputs.add(name="x", datatype="FP32", shape=[2, corpus.WIDTH])
    asked.raw_input_contents.append(corpus.ROWS[:2].tobytes())
    for name, value in changes.items():
        if name in ("model_name", "model_version"):
            setattr(asked, name, value)
        elif name == "raw":
            asked.ClearField("raw_input_contents")
            asked.raw_input_contents.extend(value)
        elif name == "values":
            asked.ClearField("raw_input_contents")
            asked.inputs[0].contents.fp32_contents.extend(value)
        elif name == "shape":
            asked.inputs[0].ClearField("shape")
            asked.inputs[0].shape.extend(value)
        else:
            setattr(asked.inputs[0], name, value)
    return asked


def call(running: contestants.Running, who: str, asked: Any) -> tuple[grpc.StatusCode, Any]:
    server = running[who]
    port = server.port_of(forms.Form(who, "grpc"))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            got = channel.unary_unary(forms.METHOD)(asked.SerializeToString(), timeout=30)
        except grpc.RpcError as error:
            return error.code(), None
        return grpc.StatusCode.OK, schema.message("ModelInferResponse").FromString(got)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"values": corpus.ROWS[:2].ravel().tolist(), "raw": []},
        {"raw": [corpus.HUGE.tobytes()], "shape": [1, corpus.WIDTH]},
        {"model_version": "1"},
    ],
    ids=["raw", "contents", "no finite answer", "version"],
)
def test_grpc_answers_are_the_same(running: contestants.Running, changes: dict[str, Any]) -> None:
    changes = {key: changes[key] for key in sorted(changes)}  # `raw` clears, `values` fills
    (status, theirs), (_, ours) = (
        call(running, who, message(**changes)) for who in (commands.TRITON, servers.OURS_GRPC)
    )
    assert status == grpc.StatusCode.OK
    assert ours is not None
    for answer in (theirs, ours):
        assert (answer.model_name, answer.model_version, answer.id) == ("mlp", "1", "7")
    assert [(o.name, o.datatype, list(o.shape)) for o in ours.outputs] == [
        (o.name, o.datatype, list(o.shape)) for o in theirs.outputs
    ]
    assert list(ours.raw_output_contents) == list(theirs.raw_output_contents)


@pytest.mark.parametrize(
    "changes",
    [
        {"model_name": "none"},
        {"model_version": "7"},
        {"name": "z"},
        {"datatype": "FP64"},
        {"datatype": "FP31"},
        {"shape": [2, 63]},
        {"shape": [128]},
        {"shape": [0, 64]},
        {"shape": [-1, 64]},
        {"shape": [3, 64]},
        {"raw": [corpus.ROWS[:1].tobytes()]},
        {"raw": [b"", b""]},
        {"raw": []},
    ],
    ids=str,
)
def test_grpc_refusals_have_the_same_code(running: contestants.Running, changes: dict[str, Any]) -> None:
    theirs, ours = (call(running, who, message(**changes))[0] for who in (commands.TRITON, servers.OURS_GRPC))
    assert theirs != grpc.StatusCode.OK
    assert ours == theirs


def test_grpc_versions_may_be_names(running: contestants.Running) -> None:
    """Bundles' versions are digests: one that is no number is only not there. Triton has numbers alone."""
    asked = message(model_version="one")
    theirs, ours = (call(running, who, asked)[0] for who in (commands.TRITON, servers.OURS_GRPC))
    assert (theirs, ours) == (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)


def test_a_request_that_ends_triton_is_refused_by_ours(running: contestants.Running) -> None:
    """As long as it ends Triton: then the row goes to the others."""
    with contestants.running(commands.TRITON, cpu=-1) as found:
        server = found[commands.TRITON]
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            ask(server, corpus.DEADLY)
    for name in OURS:
        assert ask(running[name], corpus.DEADLY).status == 400
        assert ask(running[name], RIGHT[0]).status == 200


def test_no_difference_is_listed_that_is_not_asked() -> None:
    assert set(DIFFERENT) <= {case.name for case in (*WRONG, *DESCRIBED)}
    assert len({case.name for case in (*RIGHT, *WRONG, *DESCRIBED)}) == len(RIGHT) + len(WRONG) + len(
        DESCRIBED
    )
