"""The control API for who waits: one pool of connections, shared by threads."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel

from mainspring.core import bearer, errors, traces
from mainspring.core.client.api import wire

M = TypeVar("M", bound=BaseModel)


class Connection:
    """Sends what the operations ask for. Thread-safe, as httpx.Client is."""

    def __init__(
        self,
        url: str,
        token: bearer.Token,
        *,
        timeout_seconds: float = 15.0,
        retries: int = 2,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`token`: or what gives it, asked at each request. `retries`: of a request that had no answer, or was asked to come later; with the same key, so that it counts once."""
        self._url = url
        self._retries = retries
        # Proxies of the environment are not for a loopback address.
        self._http = httpx.Client(
            base_url=url,
            auth=bearer.auth(token),
            timeout=timeout_seconds,
            trust_env=False,
            transport=transport,
            event_hooks={"request": [traces.on_request]},
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def is_ready(self) -> bool:
        try:
            return self._http.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def _get(self, path: str, answer: type[M], **params: Any) -> M:
        return wire.read(self._url, answer, self._send(wire.Asked("GET", path, params=params)))

    def _post(self, path: str, body: BaseModel | None, answer: type[M], *, version: str = "") -> M:
        """Made once, however often it is sent."""
        headers = wire.if_match(version)
        asked = wire.Asked("POST", path, wire.body_of(body), headers=headers, is_keyed=True)
        return wire.read(self._url, answer, self._send(asked))

    def _report(self, path: str, body: BaseModel, answer: type[M]) -> M:
        """A fact that has a key of its own."""
        return wire.read(self._url, answer, self._send(wire.Asked("POST", path, wire.body_of(body))))

    def _put(self, path: str, body: Any, answer: type[M], *, version: str = "", **params: Any) -> M:
        """The same again changes nothing."""
        asked = wire.Asked("PUT", path, body, params, wire.if_match(version))
        return wire.read(self._url, answer, self._send(asked))

    def _send(self, asked: wire.Asked) -> Any:
        asked, tries = asked.with_key(), 0
        while True:
            tries += 1
            try:
                return self._send_once(asked)
            except errors.MainspringError as error:
                if (wait := wire.wait_before(tries, self._retries, error)) is None:
                    raise
                time.sleep(wait)

    def _send_once(self, asked: wire.Asked) -> Any:
        try:
            answer = self._http.request(
                asked.method, asked.path, json=asked.body, params=asked.params, headers=asked.headers
            )
        except httpx.HTTPError as error:
            raise wire.failure_of(self._url, error) from error
        return wire.content_of(self._url, answer)

    @contextlib.contextmanager
    def _stream(
        self, path: str, headers: dict[str, str], *, quiet_seconds: float | None, **params: Any
    ) -> Iterator[httpx.Response]:
        """An answer as it comes; `quiet_seconds`: longest silence. Errors: as any; DependencyDown if it breaks off."""
        timeout = httpx.Timeout(15.0, read=quiet_seconds)
        try:
            with self._http.stream("GET", path, params=params, headers=headers, timeout=timeout) as answer:
                if not answer.is_success:
                    answer.read()
                    wire.content_of(self._url, answer)
                yield answer
        except httpx.HTTPError as error:
            raise errors.DependencyDown(
                f"the answer from `{self._url}` broke off: {error}; ask for it again", name="control"
            ) from error
