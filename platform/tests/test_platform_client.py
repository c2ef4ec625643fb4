"""The typed client against a real uvicorn on loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import uvicorn

from mainspring.core import errors, identity, settings
from mainspring.core.client import control as control_client
from mainspring.core.contracts import control, metering, training
from mainspring.platform import app as control_app
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")


class Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.listens.set()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, identity.TokenIssuer]]:
    s = settings.load({}, directory=tmp_path)
    issuer = identity.ensure_token_file(s.control.tokens_file)
    app = control_app.create_app(s, issuer=issuer, launcher=launcher.MemoryLauncher())
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(uvicorn.Config(app, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    assert server.listens.wait(30)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", issuer
    server.should_exit = True
    thread.join(30)
    listener.close()


@pytest.mark.integration
def test_a_story_over_the_wire(served: tuple[str, identity.TokenIssuer]) -> None:
    url, issuer = served

    def client(role: str) -> control_client.ControlClient:
        return control_client.ControlClient(url, issuer.token_of(f"{role}@local"))

    now = datetime.now(UTC)
    with client("developer") as developer, client("approver") as approver, client("service") as service:
        assert developer.is_ready()
        created = developer.create_project(control.ProjectCreate(name="flight-delay", owner="team"))
        assert developer.project("flight-delay") == created
        assert len(developer.projects().items) == 1
        with pytest.raises(errors.NotFound) as missing:
            developer.project("flight-delya")
        assert missing.value.did_you_mean == ("flight-delay",)
        run = developer.create_run(control.RunCreate(project="flight-delay"))
        with pytest.raises(errors.PermissionDenied):
            developer.decide(run.run_id, approve=True)
        event = training.RunEvent(event_key="k", run_id=run.run_id, action="a.b", actor="wf")
        assert service.report(event) == service.report(event)
        usage = training.UsageRecord(
            usage_key="u",
            run_id=run.run_id,
            project="flight-delay",
            service="ray-train",
            sku="gpu_hour",
            consumed_quantity=1,
            consumed_unit="gpu-hours",
            started_at=now,
            ended_at=now,
        )
        assert service.record_usage(usage).billed_cost == 2.5
        served = metering.ServingUsage(
            usage_key="w",
            project="flight-delay",
            endpoint="delay",
            model_version="sha256:" + "a" * 64,
            caller="shop",
            requests=1,
            predictions=1,
            cpu_microseconds=1,
            started_at=now,
            ended_at=now,
        )
        assert service.record_serving_usage([served]).new == 1
        assert developer.serving_usage(group_by="caller").groups["shop"].requests == 1
        assert approver.decide(run.run_id, approve=True, reason="fine").stage == "done"
        assert developer.run(run.run_id).cost == 2.5
        with pytest.raises(errors.Conflict):
            developer.cancel(run.run_id)
        assert [r["run_id"] for r in developer.runs().items] == [run.run_id]
        assert developer.costs(group_by="run").groups[run.run_id] == 2.5
        assert developer.verify_audit()["rows"] == len(developer.audit().items) == 9


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with control_client.ControlClient(f"http://127.0.0.1:{port}", "t") as client:
        assert not client.is_ready()
        with pytest.raises(errors.DependencyDown, match="mainspring up"):
            client.projects()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (httpx.Response(502, text="gateway"), "answered 502"),
        (httpx.Response(200, json={"x": 1}), "no `ProjectView`"),
    ],
)
def test_somebody_else_there(answer: httpx.Response, expected: str) -> None:
    transport = httpx.MockTransport(lambda _request: answer)
    with control_client.ControlClient("http://x", "t", transport=transport) as client:
        with pytest.raises(errors.Broken, match=expected):
            client.project("aa")


def test_too_slow() -> None:
    def slow(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow", request=request)

    with control_client.ControlClient("http://x", "t", transport=httpx.MockTransport(slow)) as client:
        with pytest.raises(errors.DeadlineExceeded):
            client.costs()
