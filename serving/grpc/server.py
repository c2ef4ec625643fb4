"""The gRPC server on the loop that serves HTTP: one gate, one book, one set of models for both."""

from __future__ import annotations

from typing import Final

import grpc
from mainspring.core import errors
from mainspring.serving.grpc import service

#: How long calls at work may take to end when the process stops.
GRACE_SECONDS: Final = 5.0

#: Calls beyond the queue that may be in the process: those that are being read or written.
_IN_TRANSIT: Final = 64


async def start(
    answerer: service.Service,
    *,
    host: str,
    port: int,
    max_body_bytes: int,
    max_calls: int,
    credentials: grpc.ServerCredentials | None = None,
    behind: str = "",
) -> grpc.aio.Server:
    """Listen on `host`:`port`, without TLS where there are no `credentials`. Stop it with :func:`stop`.

    `behind`: a native front has the port, and this is the path of the Unix socket to listen on instead.

    Errors: PortInUse.
    """
    server = grpc.aio.server(
        options=(
            ("grpc.max_receive_message_length", max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # on by default: a second process would silently take half of the calls
        ),
        maximum_concurrent_rpcs=max_calls + _IN_TRANSIT,
    )
    server.add_generic_rpc_handlers((service.handler(answerer),))
    try:
        if credentials is None:
            server.add_insecure_port(f"unix:{behind}" if behind else f"{host}:{port}")
        else:
            server.add_secure_port(f"{host}:{port}", credentials)
    except RuntimeError as error:
        raise errors.PortInUse(
            f"cannot listen for gRPC on `{host}` port {port}; stop what listens there or set `serving.grpc_port`",
            port=port,
            setting="serving.grpc_port",
        ) from error
    await server.start()
    return server


async def stop(server: grpc.aio.Server) -> None:
    """Take no more calls and let those at work end."""
    await server.stop(GRACE_SECONDS)
