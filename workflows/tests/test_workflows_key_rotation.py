"""Changes of keys: in which order, what stops them, and what is left for whoever starts them again."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from key_doubles import NEW, OLD, Keys, key_request
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from workflows_doubles import QUEUE, STABLE, run

from mainspring.core import bearer, errors, identity, settings, token_files, watched
from mainspring.core.client import payloads
from mainspring.core.client.workflows import WorkflowClient
from mainspring.core.contracts import keys, training
from mainspring.core.contracts.training import Stage
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.key_rotation import messages
from mainspring.workflows.key_rotation.activities import KeyActivities
from mainspring.workflows.key_rotation.payload_keys import PayloadKeys
from mainspring.workflows.key_rotation.workflow import RotateKeys

pytestmark = pytest.mark.timeout(90)


def changed(steps: Keys, **changes: Any) -> tuple[keys.KeyResult, timedelta]:
    """The result, and how long it took by the server's clock."""

    async def story(client: Client, _: WorkflowEnvironment) -> tuple[keys.KeyResult, timedelta]:
        request = key_request(**changes)
        handle = await client.start_workflow(RotateKeys.run, request, id=request.change_id, task_queue=QUEUE)
        result = await handle.result()
        status = await handle.query(training.STATUS_QUERY, result_type=training.RunStatus)
        assert status.stage is Stage.DONE and status.message == result.message
        assert keys.KeyResult.model_validate(status.detail).unsigned == result.unsigned
        described = await handle.describe()
        assert described.close_time is not None
        return result, described.close_time - described.start_time

    return run(story, [RotateKeys], steps.activities())


def failed(steps: Keys, **changes: Any) -> errors.MainspringError:
    async def story(client: Client, _: WorkflowEnvironment) -> errors.MainspringError:
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(
                RotateKeys.run, key_request(**changes), id="rotate-bundles", task_queue=QUEUE
            )
        return temporal_errors.from_failure(caught.value)

    return run(story, [RotateKeys], steps.activities())


def test_everybody_knows_the_new_key_before_it_signs_and_the_old_one_goes_last() -> None:
    steps = Keys()
    result, took = changed(steps)
    assert steps.calls == [
        "prepare",
        "ask 2",
        "switch",
        "told key.switch",
        "sign_again",
        "told key.sign-again",
        "sign_again after a",
        "told key.sign-again",
        "sign_again",
        "withdraw",
        "told key.withdraw",
        "ask 1 gone",
        "told key.end",
    ]
    assert (result.key_id, result.withdrawn, result.resigned) == (NEW, [OLD], 2)
    assert took >= timedelta(hours=1)
    assert {e.actor for e in steps.events} == {"ana"} and len({e.event_key for e in steps.events}) == 5
    told = steps.events[1].detail
    assert told["bundles"][0] == {"digest": STABLE, "project": "tiny", "key_id": OLD, "signature": "00"}
    assert told["reason"] == "a year is over"


def test_payloads_are_not_signed_and_a_key_that_is_needed_is_kept() -> None:
    steps = Keys(kept=[keys.KeptKey(key_id="old", needed_by=7)])
    result, took = changed(steps, kind="payloads", change_id="rotate-payloads", overlap_minutes=0.0)
    assert took >= timedelta(minutes=1)  # who has the file in memory encrypts by the old key for a second
    assert steps.calls == ["prepare", "ask 2", "switch", "told key.switch", "withdraw", "told key.end"]
    assert result.withdrawn == [] and result.kept[0].needed_by == 7
    assert "none was withdrawn; 1 older keys still open" in result.message


def test_a_token_is_not_signed_by_and_the_old_one_goes_after_the_overlap() -> None:
    steps = Keys()
    result, took = changed(steps, kind="tokens", change_id="rotate-tokens", overlap_minutes=30.0)
    assert steps.calls == [
        "prepare",
        "ask 2",
        "switch",
        "told key.switch",
        "withdraw",
        "told key.withdraw",
        "told key.end",
    ]
    assert timedelta(minutes=30) <= took < timedelta(hours=1)
    assert (result.key_id, result.withdrawn) == (NEW, [OLD])


def test_a_denial_asks_nobody_first() -> None:
    steps = Keys()
    result, took = changed(steps, action="deny", key_id=OLD)
    assert steps.calls == [
        "deny",
        "told key.deny",
        "list_unsigned",
        "ask 1 gone",
        "ask 2",
        "told key.end",
    ]
    assert [one.endpoints for one in result.unsigned] == [["delay"]] and took < timedelta(minutes=1)
    assert "1 bundles must be signed again" in result.message


def test_what_somebody_answers_for_is_signed_and_loaded() -> None:
    steps = Keys()
    result, _ = changed(steps, action="vouch", bundles=[STABLE], change_id="vouch_1")
    assert steps.calls == ["sign_again", "told key.sign-again", "load", "told key.end"]
    assert result.resigned == 1


def test_who_does_not_know_the_new_key_is_asked_again_and_stops_it_in_the_end() -> None:
    away = errors.DependencyDown("key `2` is not known at `serving`", name="serving")
    steps = Keys(failing={messages.ASK: away}, times=3)
    assert changed(steps)[0].stage is Stage.DONE and steps.calls.count("ask 2") == 4
    steps = Keys(failing={messages.ASK: away})
    error = failed(steps)
    assert isinstance(error, errors.DependencyDown) and "not known at `serving`" in error.message
    assert "switch" not in steps.calls and steps.calls[-1] == "told key.end"
    assert steps.events[-1].detail["stage"] == "failed"


def test_a_bundle_that_needs_the_old_key_keeps_it() -> None:
    needed = errors.Conflict("bundle `x` could not be signed again", resource="bundle", name="x")
    steps = Keys(failing={messages.WITHDRAW: needed})
    error = failed(steps)
    assert isinstance(error, errors.Conflict) and steps.calls[-2:] == ["withdraw", "told key.end"]


def test_a_cancelled_overlap_leaves_both_keys() -> None:
    steps = Keys()

    async def story(client: Client, environment: WorkflowEnvironment) -> None:
        request = key_request(overlap_minutes=129_600.0)
        handle = await client.start_workflow(RotateKeys.run, request, id="rotate-bundles", task_queue=QUEUE)
        while "told key.sign-again" not in steps.calls or steps.calls[-1] != "told key.sign-again":
            await asyncio.sleep(0.02)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()

    # The server that skips time hangs now and then where a run that sleeps is cancelled.
    run(story, [RotateKeys], steps.activities(), real=True)
    assert "withdraw" not in steps.calls and steps.events[-1].detail["stage"] == "cancelled"


def test_one_rotation_of_a_kind_at_a_time() -> None:
    steps = Keys()

    async def story(client: Client, environment: WorkflowEnvironment) -> None:
        ours = WorkflowClient(client, QUEUE)
        assert await ours.start_key_change(key_request(overlap_minutes=600.0)) == "rotate-bundles"
        with pytest.raises(errors.Conflict, match="is under way"):
            await ours.start_key_change(key_request())
        # In an emergency nobody waits for a rotation's overlap.
        await ours.start_key_change(key_request(action="deny", key_id=OLD, change_id="deny-1"))
        assert (await ours.key_change_result("deny-1")).withdrawn == [OLD]
        async with environment.time_skipping_unlocked():
            assert (await ours.key_change_result("rotate-bundles")).withdrawn == [OLD]
        await ours.start_key_change(key_request())  # the next one, once it has ended

    run(story, [RotateKeys], steps.activities())


class Control:
    """What stands for the control API: pages of the keys that it has."""

    def __init__(self, *key_ids: str) -> None:
        self.views = [keys.KeyView(kind=keys.KeyKind.PAYLOADS, key_id=k, state="decrypts") for k in key_ids]

    def answer(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/api/v1/keys"
        at = int(request.url.params["after"] or 0)
        items = [view.model_dump(mode="json") for view in self.views[at : at + 1]]
        more = str(at + 1) if at + 1 < len(self.views) else ""
        return httpx.Response(200, json={"items": items, "next": more})


def test_who_must_decrypt_is_asked_for_the_new_key(tmp_path: Path) -> None:
    in_force = settings.load({"MAINSPRING_STACK_STATE_DIR": str(tmp_path)}, directory=tmp_path)
    payloads.ensure_keys(in_force.workflow.payload_keys)
    here = PayloadKeys(in_force.workflow.payload_keys)
    turn = here.prepare(key_request(), "one rotation")

    def asked(*known: str, key_id: str = turn.new) -> list[str]:
        http = httpx.AsyncClient(
            base_url="http://control", transport=httpx.MockTransport(Control(*known).answer)
        )
        activities = KeyActivities(in_force, http, http)
        question = messages.Ask(request=key_request(kind="payloads"), key_id=key_id)
        return asyncio.run(ActivityEnvironment().run(activities.ask, question)).consumers

    assert asked(*here.ids()) == ["control", "worker"]
    with pytest.raises(ApplicationError, match="is not known at `control`") as caught:
        asked(turn.old)
    assert not caught.value.non_retryable
    with pytest.raises(ApplicationError, match="is not known at `worker`"):
        asked("elsewhere", key_id="elsewhere")


class Services:
    """Control API and serving, which believe the tokens of a file that each has for itself."""

    def __init__(self, **files: Path) -> None:
        self._believed = {host: identity.TokenIssuer.load(path) for host, path in files.items()}

    def client(self, host: str) -> httpx.AsyncClient:
        transport = httpx.MockTransport(self._answer)
        return httpx.AsyncClient(base_url=f"http://{host}", auth=bearer.auth("none"), transport=transport)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        try:
            actor = self._believed[request.url.host].authenticate(request.headers["authorization"])
            if request.url.path == "/v1/api-keys":
                actor.require("admin")
        except errors.Denied as error:
            status = 403 if isinstance(error, errors.PermissionDenied) else 401
            return httpx.Response(status, json={"error": errors.to_wire(error)})
        return httpx.Response(200, json={})


def test_services_are_shown_the_new_token_and_who_does_not_believe_it_is_named(tmp_path: Path) -> None:
    in_force = settings.load({"MAINSPRING_STACK_STATE_DIR": str(tmp_path)}, directory=tmp_path)
    ours = in_force.control.tokens_file
    identity.ensure_token_file(ours)
    stale = tmp_path / "copy.json"
    stale.write_bytes(ours.read_bytes())
    request = key_request(kind="tokens", change_id="rotate-tokens")

    def do(name: str, argument: Any, **files: Path) -> Any:
        services = Services(**{"control": ours, "serving": ours, **files})
        activities = KeyActivities(in_force, services.client("serving"), services.client("control"))
        return asyncio.run(ActivityEnvironment().run(getattr(activities, name), argument))

    old = identity.TokenIssuer.load(ours).token_of(identity.SERVICE)
    turn = do("prepare", request)
    assert turn == do("prepare", request) and turn.old == token_files.id_of(old)
    ask = messages.Ask(request=request, key_id=turn.new)
    with pytest.raises(ApplicationError, match="is not known at `serving`") as caught:
        do("ask", ask, serving=stale)
    assert not caught.value.non_retryable, "it is asked again"
    assert do("ask", ask).consumers == ["control", "serving"]
    assert identity.TokenIssuer.load(ours).token_of(identity.SERVICE) == old, "nobody shows it yet"
    assert do("switch", turn).changed and not do("switch", turn).changed
    assert do("withdraw", turn).key_ids == [turn.old] and do("withdraw", turn).key_ids == []
    now = identity.TokenIssuer.load(ours)
    assert token_files.id_of(now.token_of(identity.SERVICE)) == turn.new
    with pytest.raises(errors.Unauthenticated):
        now.authenticate(f"Bearer {old}")


def test_where_a_provider_alone_is_believed_no_token_is_made(tmp_path: Path) -> None:
    provided = {
        "MAINSPRING_STACK_STATE_DIR": str(tmp_path),
        "MAINSPRING_IDENTITY_ISSUER": "https://login.example",
        "MAINSPRING_IDENTITY_AUDIENCE": "mainspring",
        "MAINSPRING_IDENTITY_EMBEDDED": "false",
    }
    in_force = settings.load(provided, directory=tmp_path)
    identity.ensure_token_file(in_force.control.tokens_file)
    before = in_force.control.tokens_file.read_bytes()
    http = httpx.AsyncClient()
    with pytest.raises(ApplicationError, match="rotate at the provider") as caught:
        asyncio.run(
            ActivityEnvironment().run(KeyActivities(in_force, http, http).prepare, key_request(kind="tokens"))
        )
    assert caught.value.non_retryable and in_force.control.tokens_file.read_bytes() == before


@pytest.mark.integration
def test_a_payload_key_goes_when_no_history_has_it(tmp_path: Path) -> None:
    """Over a real server: a key that a run was started with stays for as long as the run is kept."""
    path, steps = tmp_path / "payload.keys", Keys()
    payloads.ensure_keys(path)
    codec = payloads.SealedPayloads(path)
    used = PayloadKeys(path)

    async def story(client: Client, _: WorkflowEnvironment) -> None:
        (first,) = used.ids()
        await client.execute_workflow(
            RotateKeys.run, key_request(overlap_minutes=0.0), id="rotate-bundles", task_queue=QUEUE
        )
        turn = used.prepare(key_request(), "one rotation")
        assert used.prepare(key_request(), "one rotation") == turn and used.ids() == (first, turn.new)
        assert used.switch(turn) and not used.switch(turn)
        assert used.ids() == (turn.new, first)
        unused = used.prepare(key_request(), "another rotation")
        found = await used.withdraw(client)
        assert found.key_ids == [unused.new]
        assert [(k.key_id, k.needed_by) for k in found.kept] == [(first, 1)]
        assert used.ids() == (turn.new, first)
        # What is encrypted from now on is so by the new key, once its file was looked at, and what was is still read.
        await asyncio.sleep(watched.LOOK_SECONDS)
        await client.execute_workflow(
            RotateKeys.run, key_request(overlap_minutes=0.0), id="rotate-again", task_queue=QUEUE
        )
        assert [k.needed_by for k in (await used.withdraw(client)).kept] == [1]
        old = await client.get_workflow_handle_for(RotateKeys.run, "rotate-bundles").result()
        assert old.stage is Stage.DONE

    converter = payloads.converter_of(codec)
    run(story, [RotateKeys], steps.activities(), real=True, converter=converter)
