"""The side effects of a change of keys: files of keys, bundles' signatures, and questions to who must know. Each safe to repeat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter
from temporalio import activity
from temporalio import client as temporal

from mainspring.core import errors, settings
from mainspring.core.contracts import control as control_contracts
from mainspring.core.contracts import deployment, keys, prediction
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows import heartbeat
from mainspring.workflows.exchange import exchange
from mainspring.workflows.key_rotation import bundle_keys, messages, payload_keys, service_tokens
from mainspring.workflows.training.data_activities import in_thread

__all__ = ["KeyActivities"]

_ENDPOINTS: Final = TypeAdapter(list[deployment.EndpointView])


class KeyActivities:
    """`serving` and `control` have their base URL and credentials set. Keys and bundles are files of this machine, or mounted."""

    def __init__(
        self,
        in_force: settings.Settings,
        serving: httpx.AsyncClient,
        control: httpx.AsyncClient,
        client: temporal.Client | None = None,
    ) -> None:
        """`client`: whose histories may need an old key of payloads; None: they all stay."""
        self._settings = in_force
        self._serving = serving
        self._control = control
        self._client = client
        self._bundles = bundle_keys.BundleKeys(in_force)
        self._payloads = payload_keys.PayloadKeys(in_force.workflow.payload_keys)
        self._tokens = service_tokens.ServiceTokens(in_force)
        self._of: Final[
            dict[
                keys.KeyKind,
                bundle_keys.BundleKeys | payload_keys.PayloadKeys | service_tokens.ServiceTokens,
            ]
        ] = {
            keys.KeyKind.BUNDLES: self._bundles,
            keys.KeyKind.PAYLOADS: self._payloads,
            keys.KeyKind.TOKENS: self._tokens,
        }

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [
            self.prepare,
            self.ask,
            self.switch,
            self.sign_again,
            self.withdraw,
            self.deny,
            self.list_unsigned,
            self.load,
            self.report,
        ]

    @activity.defn(name=messages.PREPARE)
    async def prepare(self, request: keys.KeyRequest) -> messages.Turn:
        """Errors: MissingTool or Misconfigured where there is no key to rotate."""
        of = self._of[request.kind]
        mark = f"{request.change_id} {activity.info().workflow_run_id}"
        return await in_thread(lambda: of.prepare(request, mark))

    @activity.defn(name=messages.ASK)
    async def ask(self, asked: messages.Ask) -> messages.Asked:
        """Errors: DependencyDown for who does not know, with what to do there: it is asked again."""
        if asked.request.kind is keys.KeyKind.TOKENS:
            told = await self._who_takes(asked.key_id)
        elif asked.request.kind is keys.KeyKind.PAYLOADS:
            found = await self._control_keys()
            knows = {key.key_id for key in found if key.kind is keys.KeyKind.PAYLOADS}
            told = {"control": knows, "worker": set(await in_thread(self._payloads.ids))}
        else:
            view = keys.TrustView.model_validate(await self._call("GET", "/v1/trusted-keys"))
            here = await in_thread(self._bundles.trust)
            told = {
                name: set(one.withdrawn if asked.is_withdrawn else one.trusted)
                for name, one in (("serving", view), ("worker", here))
            }
        with temporal_errors.typed():
            for name, known in told.items():
                if asked.key_id not in known:
                    state = "is not withdrawn" if asked.is_withdrawn else "is not known"
                    raise errors.DependencyDown(
                        f"key `{asked.key_id}` {state} at `{name}`; bring its folder of keys up to date there",
                        name=name,
                    )
        return messages.Asked(consumers=sorted(told))

    @activity.defn(name=messages.SWITCH)
    async def switch(self, turn: messages.Turn) -> messages.Switched:
        """Errors: Conflict, NotFound if somebody else changed the keys meanwhile."""
        of = self._of[turn.request.kind]
        return messages.Switched(changed=await in_thread(lambda: of.switch(turn)))

    @activity.defn(name=messages.SIGN_AGAIN)
    async def sign_again(self, asked: messages.SignAgain) -> messages.SignedAgain:
        """What does not verify is not signed, and is in the answer. Errors: NotFound for a named bundle that is not there."""
        return await in_thread(lambda: self._bundles.sign_again(asked))

    @activity.defn(name=messages.WITHDRAW)
    async def withdraw(self, turn: messages.Turn) -> messages.Withdrawn:
        """Errors: Conflict naming a bundle that answers and that only the old key signed."""
        if turn.request.kind is keys.KeyKind.TOKENS:
            return await in_thread(lambda: self._tokens.withdraw(turn))
        if turn.request.kind is keys.KeyKind.PAYLOADS:
            with temporal_errors.typed():
                async with heartbeat.beating():
                    return await self._payloads.withdraw(self._client)
        views = _ENDPOINTS.validate_python(await self._call("GET", "/v1/endpoints"))
        return await in_thread(lambda: self._bundles.withdraw(turn, [view.traffic for view in views]))

    @activity.defn(name=messages.DENY)
    async def deny(self, request: keys.KeyRequest) -> messages.Denied:
        """Asks nobody: it holds whoever is down. Errors: NotFound for a key that was never trusted here."""
        return await in_thread(lambda: self._bundles.deny(request))

    @activity.defn(name=messages.LIST_UNSIGNED)
    async def list_unsigned(self, request: keys.KeyRequest) -> messages.Unsigned:
        """Every bundle of the key; without endpoints where serving does not answer."""
        tables, message = [], ""
        try:
            async with heartbeat.beating():
                found = await exchange(self._serving, "serving", "GET", "/v1/endpoints")
            tables = [view.traffic for view in _ENDPOINTS.validate_python(found)]
        except errors.Unavailable as error:
            message = f"which endpoints they answer for is not known: {error.message}"
        listed = await in_thread(lambda: self._bundles.unsigned(request, tables))
        return messages.Unsigned(bundles=listed, message=message)

    @activity.defn(name=messages.LOAD)
    async def load(self, request: keys.KeyRequest) -> messages.Loaded:
        """Those of the named bundles that traffic names. Errors: those of the load."""
        views = _ENDPOINTS.validate_python(await self._call("GET", "/v1/endpoints"))
        named = {digest for view in views for digest in bundle_keys.digests(view.traffic)}
        wanted = [digest for digest in request.bundles if digest in named]
        for digest in wanted:
            body = prediction.BundleLoad(digest=digest).model_dump_json()
            await self._call("POST", "/v1/bundles:load", body)
        return messages.Loaded(digests=wanted)

    @activity.defn(name=messages.REPORT)
    async def report(self, asked: messages.Report) -> None:
        path = f"/api/v1/key-changes/{asked.event.run_id}/events"
        with temporal_errors.typed():
            async with heartbeat.beating():
                await exchange(self._control, "control", "POST", path, asked.event.model_dump_json())

    async def _who_takes(self, token_id: str) -> dict[str, set[str]]:
        """Each service by whether it believes the token: it is shown there, where nobody is let in without one."""
        secret = await in_thread(lambda: self._tokens.secret(token_id))
        told: dict[str, set[str]] = {}
        doors = (
            ("control", self._control, "/api/v1/me"),
            (
                "serving",
                self._serving,
                "/v1/api-keys",
            ),  # for admins, whom a service is not: but it is known there
        )
        with temporal_errors.typed():
            async with heartbeat.beating():
                for name, http, path in doors:
                    told[name] = {token_id}
                    try:
                        await exchange(http, name, "GET", path, token=secret)
                    except errors.Unauthenticated:
                        told[name] = set()
                    except errors.PermissionDenied:
                        pass
        return told

    async def _control_keys(self) -> list[keys.KeyView]:
        found, after = [], ""
        with temporal_errors.typed():
            async with heartbeat.beating():
                while True:
                    path = f"/api/v1/keys?after={quote(after)}"
                    page = control_contracts.Page.model_validate(
                        await exchange(self._control, "control", "GET", path)
                    )
                    found += [keys.KeyView.model_validate(item) for item in page.items]
                    if not (after := page.next):
                        return found

    async def _call(self, method: str, path: str, body: str = "") -> Any:
        with temporal_errors.typed():
            async with heartbeat.beating():
                return await exchange(self._serving, "serving", method, path, body)
