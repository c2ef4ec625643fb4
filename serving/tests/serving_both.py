"""The native front and the app behind it, asked the same."""

from __future__ import annotations

import httpx
import serving_world as world


class Both:
    """The same request to the front and to the app behind it."""

    def __init__(self, served: world.Served) -> None:
        self.served = served
        self.front = httpx.Client(base_url=served.url, trust_env=False)
        behind = httpx.HTTPTransport(uds=served.front.app_socket())
        self.app = httpx.Client(base_url="http://app", transport=behind)

    def close(self) -> None:
        self.front.close()
        self.app.close()

    def ask(self, path: str, body: bytes, fields: dict[str, str]) -> httpx.Response:
        fields = {"accept-encoding": "identity", "x-request-id": "same", **fields}
        ours = self.front.post(path, content=body, headers=fields)
        theirs = self.app.post(path, content=body, headers=fields)
        assert ours.status_code == theirs.status_code, (body, ours.text, theirs.text)
        assert ours.content == theirs.content, body
        gone = {"date", "server"}
        assert {k: v for k, v in ours.headers.items() if k not in gone} == {
            k: v for k, v in theirs.headers.items() if k not in gone
        }
        return ours

    def answered_by_the_front(self) -> int:
        return self.served.front.counts()["answered"]
