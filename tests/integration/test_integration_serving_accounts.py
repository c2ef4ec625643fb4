"""A service account's token at serving: the control API and serving as they are, over HTTP and gRPC, behind the native front."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import tritonclient.grpc as triton
import uvicorn

ROOT: Final = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "serving" / "tests"))

import serving_native_world as native_world  # noqa: E402
import serving_tensors as tensors  # noqa: E402
import serving_world as world  # noqa: E402
from serving_access_world import INFER, bearer, filled, free_port, refused  # noqa: E402
from serving_access_world import ROW as INPUTS  # noqa: E402
from serving_both import Both  # noqa: E402

from mainspring.core import identity, settings  # noqa: E402
from mainspring.core.contracts import service_accounts  # noqa: E402
from mainspring.core.contracts.deployment import TrafficTable  # noqa: E402
from mainspring.platform import app as control_app  # noqa: E402
from mainspring.platform.runs import launcher  # noqa: E402
from mainspring.serving import assembly  # noqa: E402
from mainspring.serving.access import accounts  # noqa: E402

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

#: The project of the bundle that answers, and another one.
MINE, OTHER = "plain-project", "other-project"
PREDICT: Final = native_world.path("flights")
READ: Final = "/v1/features:read"
ONE: Final = native_world.body(rows=[native_world.ROW])
MEANS: Final = {"features": ["origin_stats:mean_delay"], "entities": {"origin": ["JFK"]}}
DELAYS: Final = {
    "features": ["flight_stats:mean_delay"],
    "entities": {"carrier": ["UA"], "flight": [7]},
    "as_of": world.AS_OF,
}


class Counted:
    """Asks the control API, and counts."""

    def __init__(self, asked: assembly.ControlIntrospection) -> None:
        self._asked, self.count = asked, 0

    async def state(self, token: str) -> service_accounts.ServiceTokenState:
        self.count += 1
        return await self._asked.state(token)

    async def close(self) -> None:
        await self._asked.close()


class Control:
    """A control API that is there until it is stopped."""

    def __init__(self, directory: Path) -> None:
        port = free_port()
        self.settings = settings.load({"MAINSPRING_CONTROL_PORT": str(port)}, directory=directory)
        self.issuer = identity.ensure_token_file(self.settings.control.tokens_file)
        app = control_app.create_app(self.settings, issuer=self.issuer, launcher=launcher.MemoryLauncher())
        config = uvicorn.Config(app, port=port, log_level="warning", ws="none")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        until = time.monotonic() + 60
        while not self._server.started:
            assert self._thread.is_alive() and time.monotonic() < until
            time.sleep(0.01)
        self.http = httpx.Client(base_url=f"{self.settings.control_url}/api/v1", trust_env=False, timeout=30)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()

    def call(self, who: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
        shown = {"Authorization": f"Bearer {self.issuer.token_of(f'{who}@local')}", **headers}
        answer = self.http.request(method, path, json=body, headers=shown)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def project(self, name: str) -> None:
        self.call("developer", "POST", "/projects", {"name": name, "owner": "team@example.org"})
        self.call("admin", "PUT", f"/projects/{name}/members/ana", {"roles": {"*": ["developer"]}})

    def account(self, project: str, name: str, roles: dict[str, list[str]]) -> Any:
        """A new one, with its secret."""
        asked = {"name": name, "owner": "ana", "description": "asks", "roles": roles}
        return self.call("admin", "POST", f"/projects/{project}/service-accounts", asked)

    def disable(self, project: str, name: str) -> None:
        place = f"/projects/{project}/service-accounts/{name}"
        version = self.call("admin", "GET", place)["version"]
        self.call("admin", "PATCH", place, {"disabled": True}, **{"If-Match": f'"{version}"'})

    def token(self, made: Any, **narrowed: Any) -> str:
        asked = {"client_id": made["client_id"], "client_secret": made["client_secret"], **narrowed}
        answer = self.http.post("/service-accounts:token", json=asked)
        return str(answer.raise_for_status().json()["access_token"])


@contextlib.contextmanager
def control(directory: Path) -> Iterator[Control]:
    made = Control(directory)
    try:
        yield made
    finally:
        made.http.close()
        made.stop()


@dataclasses.dataclass(frozen=True)
class House:
    control: Control
    both: Both
    grpc_port: int
    asked: Counted

    def answers(self, token: str, **headers: str) -> dict[str, int]:
        """What each way in says, through the front; gRPC in numbers of HTTP."""
        shown = {**(bearer(token) or {}), **headers}
        http = self.both.front
        return {
            "predict": http.post(PREDICT, content=ONE, headers=shown).status_code,
            "infer": http.post(INFER, json=INPUTS, headers=shown).status_code,
            "read": http.post(READ, json=MEANS, headers=shown).status_code,
            "grpc": self.over_grpc(token),
        }

    def over_grpc(self, token: str) -> int:
        codes = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "UNAVAILABLE": 503}
        with triton.InferenceServerClient(f"127.0.0.1:{self.grpc_port}") as client:

            def ask() -> None:
                client.infer("linear", [filled(triton)], headers=bearer(token))

            with contextlib.suppress(AssertionError):
                return codes[str(refused(ask).status()).removeprefix("StatusCode.")]
            return 200

    def predict(self, token: str) -> httpx.Response:
        return self.both.front.post(PREDICT, content=ONE, headers=bearer(token))

    def as_admin(self, method: str, path: str, body: Any) -> None:
        headers = native_world.token(self.both, "admin")
        self.both.front.request(method, path, json=body, headers=headers).raise_for_status()

    def used(self, caller: str) -> tuple[int, set[str]]:
        """Requests of the caller in the control API's ledger, and the projects that have them."""
        with contextlib.suppress(KeyError):
            by_caller = self.control.call("admin", "GET", "/serving-usage?group_by=caller")["groups"]
            requests = int(by_caller[caller]["requests"])
            return requests, {
                project
                for project in (MINE, OTHER)
                if caller
                in self.control.call("admin", "GET", f"/serving-usage?group_by=caller&project={project}")[
                    "groups"
                ]
            }
        return 0, set()


@contextlib.contextmanager
def house(directory: Path, there: Control, **serving: Any) -> Iterator[House]:
    directory.mkdir()
    port = free_port()
    asked = Counted(assembly.ControlIntrospection(there.settings, there.issuer))
    with (
        assembly.usage_sender(there.settings, there.issuer) as send,
        native_world.serve(
            directory,
            models={"linear": tensors.network},
            grpc_port=port,
            introspection=asked,
            send_usage=send,
            usage_report_seconds=0.1,
            **serving,
        ) as (both, home),
    ):
        native_world.put(
            both, TrafficTable(endpoint="flights", version=1, stable=native_world.write_network(home, 1))
        )
        yield House(there, both, port, asked)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    with control(tmp_path_factory.mktemp("control")) as made:
        for project in (MINE, OTHER):
            made.project(project)
        yield made


@pytest.fixture(scope="module")
def strict(there: Control, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Serving of `prod` that demands to know who asks."""
    directory = tmp_path_factory.mktemp("serving") / "strict"
    with house(directory, there, require_token=True, environment="prod") as made:
        yield made


def test_an_account_is_let_in_everywhere_by_its_token_and_answered_by_python(
    strict: House, caplog: pytest.LogCaptureFixture
) -> None:
    made = strict.control.account(MINE, "asks", {"prod": ["approver"]})
    token = strict.control.token(made)
    before, asked = strict.both.answered_by_the_front(), strict.asked.count
    with caplog.at_level(logging.DEBUG):
        assert strict.answers(token) == dict.fromkeys(("predict", "infer", "read", "grpc"), 200)
        key = strict.both.front.post(PREDICT, content=ONE, headers={"x-api-key": token})
        assert key.status_code == 200, "as a key may be shown"
    assert strict.both.answered_by_the_front() == before, "the front knows keys alone"
    assert strict.asked.count == asked + 1, "and serving asks once in ten seconds"
    wrong = token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")
    for shown in (wrong, "msat_", token + "A", made["client_secret"], ""):
        assert set(strict.answers(shown).values()) == {401}
    told = [caplog.text, strict.both.front.get("/metrics").text, strict.predict(wrong).text]
    told.append(json.dumps(strict.control.call("admin", "GET", "/audit?newest=true&limit=100")))
    assert not any(one in text for one in (token, wrong) for text in told)
    # A key of somebody else is still the front's to answer.
    before = strict.both.answered_by_the_front()
    key_of_team = native_world.key(strict.both, "team-a", "predict", "read")
    assert set(strict.answers(key_of_team).values()) == {200}
    assert strict.both.answered_by_the_front() >= before + 3


def test_what_it_may_is_its_roles_in_the_environment_and_never_a_change(strict: House) -> None:
    in_dev = strict.control.token(strict.control.account(MINE, "builds", {"dev": ["developer"]}))
    answer = strict.predict(in_dev)
    assert answer.status_code == 403 and "for a role of the account in `prod`" in answer.json()["detail"]
    viewer = strict.control.account(MINE, "looks", {"*": ["viewer", "developer"]})
    narrowed = strict.control.token(viewer, roles=["viewer"])
    assert strict.answers(narrowed) == {"predict": 403, "infer": 403, "read": 200, "grpc": 403}
    admin = strict.control.account(MINE, "root", {"*": ["admin", "developer", "approver"]})
    token = strict.control.token(admin)
    http, shown = strict.both.front, bearer(strict.control.token(admin))
    seen = http.get("/v1/endpoints/flights", headers=shown)
    assert seen.status_code == 200, seen.text
    table = seen.json()["traffic"]
    for method, path, body in (
        ("PUT", "/v1/endpoints/flights/traffic", {**table, "version": 2}),
        ("POST", "/v1/bundles:load", {"digest": table["stable"]}),
        ("POST", "/v1/keys", {"caller": "thief"}),
        ("GET", "/v1/keys", None),
        ("PUT", "/v1/limits", {"version": 1}),
        ("PUT", "/v1/masking", {"version": 1}),
        ("POST", "/v1/features/quarantine/x:release", {"reason": "because"}),
        ("POST", "/v1/subjects:erase", {"views": ["origin_stats"], "columns": ["origin"], "key": "JFK"}),
        ("POST", "/v2/repository/models/linear/unload", {}),
    ):
        answer = http.request(method, path, json=body, headers=shown)
        assert (answer.status_code, answer.json().get("code", "permission_denied")) == (
            403,
            "permission_denied",
        ), (path, answer.text)
        assert token not in answer.text
    with triton.InferenceServerClient(f"127.0.0.1:{strict.grpc_port}") as client:
        unload = refused(lambda: client.unload_model("linear", headers=shown))
        assert "PERMISSION_DENIED" in str(unload.status())
    assert set(strict.answers(token).values()) == {200}


def test_another_projects_account_asks_as_a_key_does_and_pays_for_it(strict: House) -> None:
    mine = strict.control.account(MINE, "pays", {"prod": ["developer"]})
    others = strict.control.account(OTHER, "pays", {"prod": ["developer"]})
    for made in (mine, others):
        for _ in range(3):
            assert strict.predict(strict.control.token(made)).status_code == 200
    until = time.monotonic() + 10
    for made, project in ((mine, MINE), (others, OTHER)):
        while strict.used(made["client_id"])[0] < 3:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert strict.used(made["client_id"]) == (3, {project})


def test_what_it_sees_is_by_its_roles_in_its_own_project(strict: House) -> None:
    def section(project: str, view: str) -> dict[str, Any]:
        column = {"view": view, "field": "mean_delay", "classification": "confidential"}
        rule = {"classification": "confidential", "role": "developer", "purpose": "*", "form": "clear"}
        return {"project": project, "fields": [column], "rules": [rule]}

    sections = [section(MINE, "origin_stats"), section(OTHER, "flight_stats")]
    strict.as_admin("PUT", "/v1/masking", {"version": 1, "sections": sections})
    roles = {"prod": ["developer"], "dev": ["viewer"]}
    tokens = [strict.control.token(strict.control.account(p, "reads", roles)) for p in (MINE, OTHER)]
    looks = strict.control.account(MINE, "sees-less", {"prod": ["viewer"], "dev": ["developer"]})
    tokens.append(strict.control.token(looks))

    def seen(token: str) -> tuple[Any, Any]:
        found = []
        for asked in ({**MEANS, "as_of": world.AS_OF}, DELAYS):
            answer = strict.both.front.post(READ, json=asked, headers=bearer(token))
            assert answer.status_code == 200, answer.text
            found.append(answer.json()["results"][-1]["values"][0])
        return found[0], found[1]

    assert [seen(token) for token in tokens] == [(1.5, None), (None, 0.25), (None, None)]
    strict.as_admin("PUT", "/v1/masking", {"version": 2, "sections": []})


def test_one_that_is_disabled_is_refused_in_its_time_and_one_that_ended_at_once(
    strict: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "KEPT_SECONDS", 1.5)  # ten, elsewhere
    made = strict.control.account(MINE, "leaves", {"prod": ["approver"]})
    token = strict.control.token(made)
    assert strict.predict(token).status_code == 200
    strict.control.disable(MINE, "leaves")
    time.sleep(1.5)
    assert set(strict.answers(token).values()) == {401}
    brief = strict.control.account(MINE, "is-brief", {"prod": ["approver"]})
    given = strict.control.settings.control
    monkeypatch.setitem(given.__dict__, "service_token_minutes", 1.0 / 60)
    ended = strict.control.token(brief)
    assert strict.predict(ended).status_code == 200
    time.sleep(1.0)
    assert set(strict.answers(ended).values()) == {401}


def test_a_flood_of_made_up_tokens_asks_the_control_api_within_bounds(strict: House) -> None:
    token = strict.control.token(strict.control.account(MINE, "goes-on", {"prod": ["approver"]}))
    assert strict.predict(token).status_code == 200
    before, began = strict.asked.count, time.monotonic()

    def guess(_: int) -> int:
        return strict.predict("msat_" + secrets.token_urlsafe(32)).status_code

    with futures.ThreadPoolExecutor(8) as pool:
        told = list(pool.map(guess, range(400)))
        assert strict.predict(token).status_code == 200, "who is known is answered meanwhile"
    assert set(told) <= {401, 429, 503} and 401 in told
    bound = (time.monotonic() - began + 1) * accounts.MAX_NEW_PER_SECOND
    assert strict.asked.count - before <= bound


def test_without_the_control_api_nobody_is_taken_for_somebody(tmp_path: Path) -> None:
    """503 where a token is demanded; anonymous where none is, and never a key, nor the account, by what the front knows."""
    with contextlib.ExitStack() as opened:
        there = opened.enter_context(control(tmp_path / "control"))
        for project in (MINE, OTHER):
            there.project(project)
        token = there.token(there.account(MINE, "asks", {"*": ["developer"]}))
        open_to_all = opened.enter_context(house(tmp_path / "open", there, require_token=False))
        strict = opened.enter_context(house(tmp_path / "strict", there, require_token=True))
        assert set(open_to_all.answers(token).values()) == {200}
        before = open_to_all.both.answered_by_the_front()
        assert open_to_all.predict(token).status_code == 200
        assert open_to_all.both.answered_by_the_front() == before, "who pays python knows"
        until = time.monotonic() + 10
        while open_to_all.used(f"service-account:{MINE}:asks")[0] < 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        there.stop()
        assert set(open_to_all.answers(token).values()) == {200}
        for _ in range(2):  # asked for, and a moment later
            assert set(strict.answers(token).values()) == {503}
        answer = strict.predict(token)
        assert answer.json()["details"] == {"name": "control"} and token not in answer.text
        stranger = "msat_" + secrets.token_urlsafe(32)
        assert set(open_to_all.answers(stranger).values()) == {200}, "as good as none"
        assert strict.both.front.get("/readyz").status_code == 200
        key = native_world.key(strict.both, "team-a", "predict", "read")
        assert set(strict.answers(key).values()) == {200}, "keys are serving's own"
        change = open_to_all.both.front.get("/v1/keys", headers=bearer(token))
        assert change.status_code == 403, "what it said counts for its time"
        assert open_to_all.both.front.get("/v1/keys", headers=bearer(stranger)).status_code == 503
