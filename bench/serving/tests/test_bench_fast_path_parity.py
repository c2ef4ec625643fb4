"""The corpus of v2 requests to our app: the same bytes with the fast path, whose model is native, and without it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bench_v2_corpus as corpus
import pytest

from mainspring.bench.serving import model, servers
from mainspring.core import identity, settings
from mainspring.core.features import online
from mainspring.serving import app

CASES = [*corpus.right(), *corpus.wrong(), corpus.DEADLY]


@dataclass(frozen=True)
class Asked:
    """An app, asked without a server on one loop."""

    app: Any
    loop: asyncio.AbstractEventLoop

    def ask(self, case: corpus.Case) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        fields = {"X-Request-Id": "same", "Content-Length": str(len(case.body)), **case.headers}
        scope = {
            "type": "http", "method": case.method, "path": case.path, "raw_path": case.path.encode(), "query_string": b"",
            "headers": [(k.lower().encode(), v.encode()) for k, v in fields.items()], "http_version": "1.1", "scheme": "http",
            "server": ("h", 1), "client": ("c", 2), "root_path": "", "state": {},
        }  # fmt: skip
        coming = [{"type": "http.request", "body": case.body, "more_body": False}]
        sent: list[Any] = []

        async def receive() -> Any:
            if not coming:
                await asyncio.Event().wait()  # the client stays
            return coming.pop()

        async def send(message: Any) -> None:
            sent.append(message)

        self.loop.run_until_complete(self.app(scope, receive, send))
        return sent[0]["status"], sorted(sent[0]["headers"]), b"".join(m.get("body", b"") for m in sent[1:])


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Asked, Asked]]:
    loop = asyncio.new_event_loop()
    made = []
    for is_fast in ("true", "false"):
        directory: Path = tmp_path_factory.mktemp(is_fast)
        environ = {"MAINSPRING_SERVING_FAST_PATH": is_fast, "MAINSPRING_SERVING_GRPC_PORT": "0"}
        in_force = settings.load(environ, directory=directory)
        built = app.create_app(
            in_force,
            online=online.OnlineStore(),
            loader=servers._NoBundles(),
            issuer=identity.ensure_token_file(in_force.control.tokens_file),
            models={"mlp": model.native},
        )
        made.append(Asked(built, loop))
    yield made[0], made[1]
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_fast_path_answers_as_the_route_does(both: tuple[Asked, Asked], case: corpus.Case) -> None:
    ours, theirs = (asked.ask(case) for asked in both)
    assert ours == theirs


def test_most_of_what_is_right_takes_one_native_call(both: tuple[Asked, Asked]) -> None:
    natives = both[0].app._hot._natives

    def answered() -> int:
        return sum(entry.requests for entry in natives.entries().values())

    before = answered()
    right = list(corpus.right())
    for case in right:
        assert both[0].ask(case)[0] == 200, case.name
    assert answered() - before > len(right) // 2
