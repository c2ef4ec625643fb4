"""Keys change over a real server of predictions and a real Temporal: nobody's request is refused, whoever dies in the middle."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

for room in ("serving", "workflows"):
    sys.path.insert(0, str(Path(__file__).parents[2] / room / "tests"))

import serving_native_world as native_world  # noqa: E402
from serving_bundles import Home  # noqa: E402
from workflows_doubles import QUEUE, run  # noqa: E402

from mainspring.core import errors, settings  # noqa: E402
from mainspring.core.client.serving import ServingClient  # noqa: E402
from mainspring.core.client.workflows import WorkflowClient  # noqa: E402
from mainspring.core.contracts import keys, training  # noqa: E402
from mainspring.core.contracts.deployment import TrafficTable  # noqa: E402
from mainspring.core.models import key_files, signing  # noqa: E402
from mainspring.workflows.key_rotation.activities import KeyActivities  # noqa: E402
from mainspring.workflows.key_rotation.workflow import RotateKeys  # noqa: E402

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


class World:
    """Serving with the native front, and three bundles of one producer: two answer, one lies in the store."""

    def __init__(self, directory: Path, url: str, token: str, home: Home) -> None:
        self.url, self.home, self.token = url, home, token
        self.digests = [native_world.write_network(home, seed) for seed in (1, 2, 3)]
        self.old = home.key.key_id
        environ = {
            "MAINSPRING_STACK_STATE_DIR": str(directory / "state"),
            "MAINSPRING_SERVING_BUNDLE_DIR": str(home.store.root),
            "MAINSPRING_SERVING_TRUSTED_KEYS_DIR": str(home.trusted),
            "MAINSPRING_MODELS_SIGNING_KEY": str(directory / "signing.pem"),
        }
        self.in_force = settings.load(environ, directory=directory)
        self.database = directory / "temporal.db"
        self.events: dict[str, training.RunEvent] = {}
        with self.client() as client:
            for name, digest in zip(("flights", "other"), self.digests, strict=False):
                client.load_bundle(digest)
                client.set_traffic(TrafficTable(endpoint=name, version=1, stable=digest))

    def client(self) -> ServingClient:
        return ServingClient(self.url, token=self.token)

    def ask(self, http: httpx.Client, endpoint: str = "flights") -> httpx.Response:
        return http.post(native_world.path(endpoint), content=native_world.body(rows=[native_world.ROW]))

    def _control(self, request: httpx.Request) -> httpx.Response:
        event = training.RunEvent.model_validate_json(request.content)
        assert request.url.path == f"/api/v1/key-changes/{event.run_id}/events"
        self.events.setdefault(event.event_key, event)
        return httpx.Response(201, json={})

    def during(self, story: Callable[[Client, WorkflowEnvironment], Any]) -> Any:
        """`story` beside a worker, on a Temporal whose file outlives it."""

        serving = httpx.AsyncClient(
            base_url=self.url, headers={"authorization": f"Bearer {self.token}"}, trust_env=False
        )
        control = httpx.AsyncClient(base_url="http://control", transport=httpx.MockTransport(self._control))
        activities = KeyActivities(self.in_force, serving, control).all()

        async def closing(client: Client, environment: WorkflowEnvironment) -> Any:
            try:
                return await story(client, environment)
            finally:
                await serving.aclose()
                await control.aclose()

        return run(closing, [RotateKeys], activities, real=True, database=self.database)

    def change(self, **asked: Any) -> keys.KeyResult:
        request = keys.KeyRequest.model_validate({"requested_by": "ana", "reason": "it leaked", **asked})

        async def changed(client: Client, _: WorkflowEnvironment) -> keys.KeyResult:
            ours = WorkflowClient(client, QUEUE)
            await ours.start_key_change(request)
            return await ours.key_change_result(request.change_id)

        found: keys.KeyResult = self.during(changed)
        return found

    def signers(self) -> set[str]:
        found = {self.home.store.signature(digest) for digest in self.digests}
        return {one.key_id for one in found if one is not None}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with native_world.serve(
        tmp_path, bundle_dir=tmp_path / "bundles", trusted_keys_dir=tmp_path / "trusted"
    ) as (pair, home):
        yield World(tmp_path, pair.served.url, pair.served.tokens.token_of("service@local"), home)


def test_a_rotation_under_load_refuses_nobody_though_its_worker_and_server_die(world: World) -> None:
    stop, statuses = threading.Event(), []

    def load() -> None:
        with httpx.Client(base_url=world.url, trust_env=False) as http, world.client() as client:
            while not stop.wait(0.002):
                statuses.append(world.ask(http).status_code)
                if (
                    len(statuses) % 50 == 0
                ):  # and bundles that nobody has asked for yet are loaded all the time
                    client.load_bundle(world.digests[2])

    request = keys.KeyRequest(
        change_id="rotate-bundles", requested_by="ana", reason="a year is over", overlap_minutes=0.05
    )

    async def begin(client: Client, _: WorkflowEnvironment) -> None:
        ours = WorkflowClient(client, QUEUE)
        await ours.start_key_change(request)
        while (await ours.status(request.change_id)).stage is not training.Stage.WARM:
            await asyncio.sleep(0.02)

    async def end(client: Client, _: WorkflowEnvironment) -> keys.KeyResult:
        return await WorkflowClient(client, QUEUE).key_change_result(request.change_id)

    asking = threading.Thread(target=load)
    asking.start()
    try:
        world.during(begin)  # worker and Temporal end here, in the overlap
        assert key_files.previous(world.in_force.models.signing_key) is not None
        result = world.during(end)
        ends = threading.Event()
        ends.wait(1.5)  # serving looks at marks twice a second
    finally:
        stop.set()
        asking.join()
    assert set(statuses) == {200} and len(statuses) > 300, len(statuses)
    new = signing.SigningKey.load(world.in_force.models.signing_key).key_id
    assert (result.key_id, result.withdrawn, result.resigned) == (new, [world.old], 3)
    assert world.signers() == {new} != {world.old}
    assert [e.action for e in world.events.values()] == [
        "key.switch",
        "key.sign-again",
        "key.withdraw",
        "key.end",
    ]
    with world.client() as client:
        assert (client.trusted_keys().trusted, client.trusted_keys().withdrawn) == ([new], [world.old])
    # Whoever still has the old key publishes it again, and signs nothing that is believed.
    world.home.key.publish(world.home.trusted)
    late = native_world.write_network(world.home, 4)
    with world.client() as client, pytest.raises(errors.PolicyDenied, match="a year is over"):
        client.load_bundle(late)
    assert key_files.previous(world.in_force.models.signing_key) is None


def test_a_compromised_key_is_denied_at_once_and_what_somebody_answers_for_comes_back(world: World) -> None:
    with httpx.Client(base_url=world.url, trust_env=False) as http, world.client() as client:
        assert world.ask(http).status_code == 200
        result = world.change(change_id="deny-1", action="deny", key_id=world.old)
        assert result.withdrawn == [world.old] and result.key_id not in ("", world.old)
        assert [one.endpoints for one in result.unsigned] == [
            *sorted([["flights"], ["other"]], key=lambda e: world.digests[e == ["other"]]),
            [],
        ]
        assert {one.digest for one in result.unsigned} == set(world.digests)
        for _ in range(200):
            if world.ask(http).status_code == 403:
                break
            threading.Event().wait(0.05)
        assert world.ask(http).json()["code"] == "policy_denied" == world.ask(http, "other").json()["code"]
        card = world.home.store.root / world.digests[1].removeprefix("sha256:") / "card.md"
        card.chmod(0o644)
        card.write_bytes(b"# not what was signed\n")
        done = world.change(change_id="vouch_1", action="vouch", bundles=world.digests[:1])
        assert (done.resigned, done.damaged) == (1, [])
        assert world.ask(http).status_code == 200 and world.ask(http, "other").status_code == 403
        with pytest.raises(errors.PolicyDenied):
            client.load_bundle(world.digests[2])
        done = world.change(change_id="vouch_2", action="vouch", bundles=world.digests[2:])
        assert done.resigned == 1 and client.load_bundle(world.digests[2]).digest == world.digests[2]


def test_a_bundle_that_answers_and_is_damaged_keeps_the_old_key(world: World) -> None:
    card = world.home.store.root / world.digests[0].removeprefix("sha256:") / "card.md"
    good = card.read_bytes()
    card.chmod(0o644)
    card.write_bytes(b"# not what was signed\n")
    with pytest.raises(errors.Conflict, match="could not be signed again"):
        world.change(change_id="rotate-bundles", overlap_minutes=0.0)
    with httpx.Client(base_url=world.url, trust_env=False) as http, world.client() as client:
        assert world.ask(http).status_code == 200  # from memory
        assert world.old in client.trusted_keys().trusted
    card.write_bytes(good)
    half = signing.SigningKey.load(world.in_force.models.signing_key).key_id
    result = world.change(change_id="rotate-bundles", overlap_minutes=0.0)
    assert (result.key_id, result.withdrawn, result.resigned) == (half, [world.old], 1)


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ({"action": "deny", "key_id": "sha256:" + "0" * 64}, errors.NotFound),
        ({"action": "vouch", "bundles": ["sha256:" + "0" * 64]}, errors.NotFound),
    ],
)
def test_what_is_not_there_is_said_and_changes_nothing(
    world: World, asked: dict[str, Any], kind: type[errors.MainspringError]
) -> None:
    with pytest.raises(kind):
        world.change(change_id="change_1", **asked)
    assert world.signers() == {world.old}
    assert [e.action for e in world.events.values()] == ["key.end"]
