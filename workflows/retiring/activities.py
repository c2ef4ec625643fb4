"""The retirement's side effects: serving, the bundle store beside it, and the registry, each safe to repeat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import httpx
from pydantic import TypeAdapter
from temporalio import activity

from mainspring.core import errors, settings
from mainspring.core.contracts import base, deployment, prediction, retiring
from mainspring.core.lineage import emitter, jobs
from mainspring.core.models import bundle, signing, withdrawn
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows import heartbeat
from mainspring.workflows.exchange import exchange
from mainspring.workflows.retiring import messages
from mainspring.workflows.training.data_activities import in_thread

__all__ = ["RetiringActivities"]

_ENDPOINTS: Final = TypeAdapter(list[deployment.EndpointView])
#: A deployment that moves the same traffic between our look and our change is looked at again.
_TRIES: Final = 3


class RetiringActivities:
    """`serving` has its base URL and credentials set; the bundle store is serving's, on this machine or a mounted one."""

    def __init__(
        self, in_force: settings.Settings, serving: httpx.AsyncClient, tell: emitter.Emitter | None = None
    ) -> None:
        self._settings = in_force
        self._serving = serving
        self._tell = tell

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.look, self.move, self.withdraw, self.unregister]

    @activity.defn(name=messages.LOOK)
    async def look(self, request: retiring.RetireRequest) -> messages.Looked:
        """Errors: NotFound for no such bundle; InvalidRequest for another project's; Conflict for one that is in use, with
        the endpoints, unless it is a revocation.
        """
        await in_thread(lambda: self._check_bundles(request))
        digest, tables = request.bundle_digest, []
        with temporal_errors.typed():
            try:
                views = _ENDPOINTS.validate_python(await self._ask("GET", "/v1/endpoints"))
                tables = [view.traffic for view in views]
            except errors.Unavailable:
                # An emergency does not wait for whoever is down: the mark is there when it comes back.
                if not request.is_revocation:
                    raise
        found = messages.Looked(
            stable_on=[t.endpoint for t in tables if t.stable == digest],
            shadow_on=[t.endpoint for t in tables if t.shadow == digest],
        )
        canary_on = [t.endpoint for t in tables if t.canary == digest]
        if not request.is_revocation:
            with temporal_errors.typed():
                _check_free(request, found, canary_on)
        return found

    @activity.defn(name=messages.MOVE)
    async def move(self, asked: messages.Move) -> messages.Moved:
        """Errors: Conflict if others change the traffic again and again; those of the load of `replace_by`."""
        request = asked.request
        with temporal_errors.typed():
            if request.replace_by is not None:
                load = prediction.BundleLoad(digest=request.replace_by)
                await self._ask("POST", "/v1/bundles:load", load.model_dump_json())
            for attempt in range(_TRIES):
                value = await self._ask("GET", f"/v1/endpoints/{asked.endpoint}")
                now = deployment.EndpointView.model_validate(value).traffic
                table = _without(now, request)
                if table is None:
                    return messages.Moved(version=now.version, changed=False)
                try:
                    await self._put(table, request)
                    return messages.Moved(version=table.version, changed=True)
                except errors.Conflict:
                    if attempt == _TRIES - 1:
                        raise
        raise errors.InvariantViolated("a loop without an end", where="retiring.move")

    @activity.defn(name=messages.WITHDRAW)
    async def withdraw(self, request: retiring.RetireRequest) -> messages.Withdrawn:
        """A revocation's mark is made here first: it holds for every load and start, whatever becomes of the exchange.

        Errors: Conflict if the bundle got traffic meanwhile.
        """
        told = f"{request.reason} ({request.requested_by}, {request.run_id})"
        asked = prediction.BundleWithdraw(
            digest=request.bundle_digest, reason=told, is_revocation=request.is_revocation
        )
        if request.is_revocation:
            mark = prediction.BundleWithdrawal(
                **asked.model_dump(), by=request.requested_by, at=base.utc_now()
            )
            await in_thread(lambda: withdrawn.mark(self._settings.serving.bundle_dir, mark))
        attempt = activity.info().attempt if activity.in_activity() else 1
        run = jobs.JobRun(request.project, "retiring.withdraw", request.run_id, attempt)
        async with emitter.telling_async(self._tell, run) as lineage:
            lineage.reads.append(jobs.Dataset("model", request.bundle_digest, "model"))
            value = await self._call("POST", "/v1/bundles:withdraw", asked.model_dump_json())
        made = prediction.BundleWithdrawal.model_validate(value)
        return messages.Withdrawn(by=made.by, reason=made.reason)

    @activity.defn(name=messages.UNREGISTER)
    async def unregister(self, request: retiring.RetireRequest) -> messages.Unregistered:
        def work() -> messages.Unregistered:
            # MLflow takes over a second and 190 MB to import: the worker pays when it first asks it.
            from mainspring.core.models import mlflow_adapter

            tracking = mlflow_adapter.Tracking(self._settings.tracking.uri)
            state = "revoked" if request.is_revocation else "retired"
            found = tracking.retire(
                request.project,
                request.bundle_digest,
                tags={"state": state, "reason": request.reason, "run_id": request.run_id},
            )
            if found is None:  # never registered, or under another name: a bundle by hand
                return messages.Unregistered()
            return messages.Unregistered(version=found.version, aliases=list(found.aliases))

        return await in_thread(work)

    def _check_bundles(self, request: retiring.RetireRequest) -> None:
        trust = signing.TrustedKeys.load(self._settings.serving.trusted_keys_dir)
        store = bundle.BundleStore(self._settings.serving.bundle_dir)
        wanted = {"bundle_digest": request.bundle_digest, "replace_by": request.replace_by}
        if request.replace_by == request.bundle_digest:
            raise errors.InvalidRequest(
                "`replace_by` is the bundle that is to go; name another one", field="replace_by"
            )
        for name, digest in wanted.items():
            if digest is None:
                continue
            opened = store.open(digest, trust, even_withdrawn=name == "bundle_digest")
            if opened.manifest.project != request.project:
                raise errors.InvalidRequest(
                    f"bundle `{digest}` is not of project `{request.project}`; name one of its own",
                    field=name,
                )

    async def _put(self, table: deployment.TrafficTable, request: retiring.RetireRequest) -> None:
        attempt = activity.info().attempt if activity.in_activity() else 1
        part = f"{table.endpoint}/{table.version}"
        run = jobs.JobRun(request.project, "retiring.set_traffic", request.run_id, attempt, part=part)
        async with emitter.telling_async(self._tell, run) as told:
            await self._ask("PUT", f"/v1/endpoints/{table.endpoint}/traffic", table.model_dump_json())
            answers = (table.stable, table.canary, table.shadow)
            told.reads += [jobs.Dataset("model", digest, "model") for digest in answers if digest is not None]
            told.makes.append(jobs.Dataset(f"endpoint.{table.endpoint}", str(table.version), "endpoint"))

    async def _call(self, method: str, path: str, body: str = "") -> Any:
        with temporal_errors.typed():
            return await self._ask(method, path, body)

    async def _ask(self, method: str, path: str, body: str = "") -> Any:
        async with heartbeat.beating():
            return await exchange(self._serving, "serving", method, path, body)


def _check_free(request: retiring.RetireRequest, found: messages.Looked, canary_on: list[str]) -> None:
    """Errors: Conflict naming the endpoints, and what to do there."""
    why = ""
    if canary_on:
        why = f"is being deployed on `{'`, `'.join(canary_on)}`; cancel that run first, or revoke the bundle"
    elif found.stable_on and request.replace_by is None:
        why = f"answers for `{'`, `'.join(found.stable_on)}`; deploy another one there, or name `replace_by`"
    if why:
        raise errors.Conflict(
            f"bundle `{request.bundle_digest}` {why}", resource="bundle", name=request.bundle_digest
        )


def _without(now: deployment.TrafficTable, request: retiring.RetireRequest) -> deployment.TrafficTable | None:
    """The next version of a table without the bundle; None where it is not in there any more, or nobody stands in."""
    digest, other = request.bundle_digest, request.replace_by
    changes: dict[str, Any] = {}
    if now.stable == digest and other is not None:
        # Whoever judges a canary there leaves it alone from then on, and it was judged against what goes.
        changes |= {"stable": other, "canary": None, "canary_percent": 0}
    if now.shadow == digest:
        changes["shadow"] = None
    if not changes:
        return None
    return now.model_copy(update={**changes, "version": now.version + 1, "set_by": request.run_id})
