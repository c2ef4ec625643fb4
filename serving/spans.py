"""What the spans of serving's requests and calls are named and say, whoever answered them."""

from __future__ import annotations

from typing import Final

from mainspring.core import traces

__all__ = ["GRPC_SERVICE", "SERVICE", "grpc_attributes", "grpc_name", "request_attributes"]

#: `service.name` of traces and logs.
SERVICE: Final = "mainspring-serving"

#: Of the v2 protocol, as calls name it.
GRPC_SERVICE: Final = "inference.GRPCInferenceService"


def request_attributes(
    method: str, path: str, status: int, request_id: str, caller: str
) -> dict[str, traces.Value]:
    """What a request's span says, whoever answered it."""
    return {
        "http.request.method": method,
        "url.path": path,
        "http.response.status_code": status,
        "mainspring.request_id": request_id,
        "mainspring.caller": caller,
    }


def grpc_name(method: str) -> str:
    """Of a call's span."""
    return f"{GRPC_SERVICE.rpartition('.')[2]}/{method}"


def grpc_attributes(method: str, code: int, request_id: str, caller: str) -> dict[str, traces.Value]:
    """What a call's span says, whoever answered it."""
    return {
        "rpc.system": "grpc",
        "rpc.service": GRPC_SERVICE,
        "rpc.method": method,
        "rpc.grpc.status_code": code,
        "mainspring.request_id": request_id,
        "mainspring.caller": caller,
    }
