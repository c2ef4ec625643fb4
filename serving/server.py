"""Runs the app until it is told to stop: on the port itself, or on a Unix socket behind the native front."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any, Final

import uvicorn

from mainspring.serving import native_front

DRAIN_SECONDS: Final = 10

#: The front closes what it keeps open to the app; the app must never do it while a request is on its way there.
_KEEP_ALIVE_SECONDS: Final = 86_400


class Server(uvicorn.Server):
    """uvicorn, with the front before it if one is wanted: starts after the app does, stops before it."""

    def __init__(
        self,
        app: Any,
        listeners: Sequence[socket.socket],
        front: native_front.NativeFront,
        *,
        behind: socket.socket | None = None,
        **config: Any,
    ) -> None:
        """`listeners` share one port; they are closed on return of :meth:`run`. On `behind`, if it is there, the app listens as
        well, for what other processes pass on; with a front before it, instead of a socket of its own.
        """
        self._behind = behind
        self._listeners = list(listeners)
        self._front = front if front.is_wanted else None
        chosen = {"timeout_graceful_shutdown": DRAIN_SECONDS, **config}
        if self._front is not None:
            chosen["timeout_keep_alive"] = _KEEP_ALIVE_SECONDS
            self._front.take_grpc()
            if behind is None:
                chosen["uds"] = self._front.app_socket()
            else:
                self._front.use_app_socket(behind.getsockname())
        super().__init__(uvicorn.Config(app, **chosen))

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal, or `should_exit`."""
        try:
            behind = [] if self._behind is None else [self._behind]
            super().run((behind or None) if self._front is not None else [*self._listeners, *behind])
        finally:
            if self._front is not None:
                self._front.stop(0.0)
            for listener in self._listeners:
                listener.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Errors: Misconfigured if the front does not start."""
        await super().startup(sockets)
        if self._front is not None and not self.should_exit:
            self._front.start(self._listeners)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """First what is at work in the front ends, and with it what it asked of the app."""
        if self._front is not None:
            await asyncio.to_thread(self._front.stop, DRAIN_SECONDS)
        await super().shutdown(sockets)
