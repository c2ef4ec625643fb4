"""What each method of the client asks for, held against the operations that the API publishes."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from litestar import Litestar
from platform_tenants import TIMES, _pack
from pydantic import BaseModel

from mainspring.core import errors, identity, settings
from mainspring.core.client import control as clients
from mainspring.core.contracts import access_requests, canaries, metering, schedules, training
from mainspring.platform import app as control_app
from mainspring.platform.runs import launcher

#: Of the process, and no operation of a resource.
OF_THE_PROCESS = {"GET /healthz", "GET /readyz", "GET /metrics", "GET /api/v1/metrics"}

SERVED = {
    **dict.fromkeys(("usage_key", "project", "endpoint", "caller"), "aa"),
    **dict.fromkeys(("requests", "predictions", "cpu_microseconds"), 1),
    "model_version": "sha256:" + "a" * 64,
    **TIMES,
}
AT = datetime(2026, 11, 1, tzinfo=UTC)
EXAMPLES: Mapping[Any, Any] = {
    str: "anna",
    bool: True,
    int: 1,
    datetime: AT,
    schedules.Process: schedules.Process.SKEW,
    canaries.CanaryOrder: canaries.CanaryOrder.PAUSE,
    access_requests.ExpireRequest: access_requests.ExpireRequest(
        project="aa", request_id="aa", state=access_requests.AccessState.OPEN, due_at=AT
    ),
    training.RunEvent: training.RunEvent(event_key="k", run_id="aa", action="a.b", actor="x"),
    training.UsageRecord: training.UsageRecord(
        usage_key="u", run_id="r", project="aa", service="s", sku="gpu_hour", consumed_quantity=1,
        consumed_unit="h", **TIMES,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Litestar:
    s = settings.load({}, directory=tmp_path_factory.mktemp("operations"))
    return control_app.create_app(s, issuer=identity.TokenIssuer({}), launcher=launcher.MemoryLauncher())


def example(annotation: Any, name: str) -> Any:
    if name == "pack":
        return _pack("x")
    if name == "records":
        return [metering.ServingUsage.model_validate(SERVED)]
    if annotation in EXAMPLES:
        return EXAMPLES[annotation]
    origin = typing.get_origin(annotation) or annotation
    if origin is typing.Literal:
        return typing.get_args(annotation)[0]
    if origin in (Sequence, Mapping):
        return [] if origin is Sequence else {"a": "b"}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation.model_construct()  # what is sent is not looked at here
    raise AssertionError(f"no example of `{annotation}` for `{name}`; add it")


def asks() -> Iterator[tuple[str, str]]:
    """Each method's name, and what it asks for first."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        ends = b"event: error\ndata: {}\n\n" if "events" in request.url.path else b"{}"
        return httpx.Response(200, content=ends)

    with clients.ControlClient("http://x", "t", transport=httpx.MockTransport(answer)) as client:
        for name, method in inspect.getmembers(type(client), inspect.isfunction):
            # What is looked at first and changed then asks for what two others do.
            if name.startswith("_") or name in (
                "change_project",
                "change_member",
                "change_schedule",
                "close",
            ):
                continue
            hints = typing.get_type_hints(method)
            given = {
                p.name: example(hints[p.name], p.name)
                for p in list(inspect.signature(method).parameters.values())[1:]
                if p.default is p.empty and p.kind is not p.VAR_KEYWORD
            }
            asked.clear()
            try:
                found = method(client, **given)
                if inspect.isgenerator(found):
                    next(found, None)
            except (errors.Broken, httpx.StreamError):
                pass  # `{}` is no answer
            yield name, f"{asked[0].method} {asked[0].url.path}"


def shape(operation: str) -> str:
    return re.sub(r"^(\w+) (/api)?/v1/", r"\1 /", re.sub(r"\{[^}]*\}", "{}", operation))


def operations(app: Litestar) -> set[str]:
    return {
        shape(f"{method.upper()} {path}")
        for path, item in app.openapi_schema.to_schema()["paths"].items()
        for method in item
        if f"{method.upper()} {path}" not in OF_THE_PROCESS
    }


def matches(operation: str, asked: str) -> bool:
    pattern = re.escape(operation).replace(r"\{\}", "[^/]+")
    return re.fullmatch(pattern, shape(asked)) is not None
