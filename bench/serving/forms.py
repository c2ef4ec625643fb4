"""What is asked of whom: the request's bytes, and whether an answer is right."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from mainspring.bench.serving import model, servers
from mainspring.bench.serving.peers import commands

METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Form:
    """One way to ask one contestant."""

    contestant: str
    body: str
    """`json`, `binary` or `grpc`."""
    model: str = "mlp"

    @property
    def name(self) -> str:
        return f"{self.contestant}/{self.body}" + ("" if self.model == "mlp" else f"/{self.model}")


OURS: Final = (
    Form(servers.ECHO, "json"),
    Form(servers.FASTAPI, "json"),
    Form(servers.OURS, "json"),
    Form(servers.PASSED, "json"),
    Form(servers.FRONT, "json"),
    Form(servers.ECHO, "binary"),
    Form(servers.OURS, "binary"),
    Form(servers.FRONT, "binary"),
    Form(servers.GRPC_ECHO, "grpc"),
    Form(servers.OURS_GRPC, "grpc"),
    Form(servers.FRONT_GRPC, "grpc"),
)
PEERS: Final = (
    Form(commands.TRITON, "json"),
    Form(commands.TRITON, "binary"),
    Form(commands.TRITON, "grpc"),
    Form(commands.MLSERVER, "json"),
    Form(commands.LITSERVE, "json"),
    Form(commands.BENTOML, "json"),
)
#: More of Triton: the best of its two is what we are compared with.
BATCHING: Final = (
    Form(commands.TRITON, "json", "batching"),
    Form(commands.TRITON, "binary", "batching"),
    Form(commands.TRITON, "grpc", "batching"),
)
#: With 10 ms of work a request all are alike: what a server costs is what is left.
SLOW: Final = (
    Form(servers.FASTAPI, "json", "slow"),
    Form(servers.OURS, "json", "slow"),
    Form(commands.MLSERVER, "json", "slow"),
)
#: Alone, in rounds with the front: a cluster is never quiet, and does not survive being held still.
RAY: Final = Form(commands.RAY, "json")


def ready(contestant: str) -> Form | None:
    """What a contestant must answer before it counts as started; None: it is enough that it listens."""
    if contestant in commands.NAMES:
        return Form(contestant, "json")
    return None


def http_request(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """A whole request as it goes on the wire."""
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json"]
    lines += [f"{k}: {v}" for k, v in headers.items()]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


def request_of(form: Form) -> bytes:
    """What the load sends for it."""
    if form.body == "grpc":
        return grpc_message(form.model)
    body, headers = _body(form)
    return http_request(f"/v2/models/{form.model}/infer", body, headers)


def _body(form: Form) -> tuple[bytes, dict[str, str]]:
    if form.body == "json":
        # MLServer makes an id where none is given, and no two answers were the same.
        return model.json_body("1" if form.contestant == commands.MLSERVER else None), {}
    body, length = model.binary_body()
    return body, {"inference-header-content-length": str(length)}


def grpc_message(name: str = "mlp") -> bytes:
    """A ModelInferRequest of one row."""
    from mainspring.serving.grpc import schema

    asked = schema.message("ModelInferRequest")(model_name=name, raw_input_contents=[model.ROW.tobytes()])
    asked.inputs.add(name="x", datatype="FP32", shape=[1, model.WIDTHS[0]])
    raw: bytes = asked.SerializeToString()
    return raw


def ask(port: int, form: Form) -> tuple[bytes, str | None]:
    """The answer's body, and the length of its JSON part where it says one. Errors: OSError, grpc.RpcError."""
    if form.body == "grpc":
        import grpc

        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            return channel.unary_unary(METHOD)(grpc_message(form.model), timeout=30), None
    body, headers = _body(form)
    url = f"http://127.0.0.1:{port}/v2/models/{form.model}/infer"
    asked = urllib.request.Request(url, body, {"content-type": "application/json", **headers})
    with OPENER.open(asked, timeout=30) as answer:
        return answer.read(), answer.headers["inference-header-content-length"]


def check(port: int, form: Form) -> tuple[bytes, str]:
    """The answer's body, and what is wrong with it, "" if nothing; an echo has to give back what it got."""
    got, length = ask(port, form)
    if form.contestant in (servers.ECHO, servers.GRPC_ECHO):
        sent = grpc_message() if form.body == "grpc" else _body(form)[0]
        return got, "" if got == sent else "the echo is another body"
    if form.body == "grpc":
        from mainspring.serving.grpc import schema

        answer = schema.message("ModelInferResponse").FromString(got)
        y = np.frombuffer(answer.raw_output_contents[0], np.float32)
        is_right = np.allclose(y, model.forward(model.ROW).ravel(), rtol=1e-5)
    else:
        is_right = model.is_right(got, None if length is None else int(length))
    return got, "" if is_right else f"wrong answer: {got[:200]!r}"
