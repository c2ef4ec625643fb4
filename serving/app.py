"""The one place where the parts of serving are chosen and joined."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import orjson
from starlette.responses import Response
from starlette.types import ASGIApp

from mainspring.core import api_keys, distribution, identity, otlp, ports, settings, traces, watched
from mainspring.core.erasure import erased
from mainspring.core.erasure import online as erasure_gate
from mainspring.core.models import withdrawn
from mainspring.serving import (
    bundles,
    endpoints,
    gate,
    native_front,
    plane,
    response_cache,
    spans,
    stats,
    tls,
    traffic,
    trust,
    usage,
    watchers,
)
from mainspring.serving.access import accounts, callers, guard, masking
from mainspring.serving.access import limits as caller_limits
from mainspring.serving.features import expectations, recorded
from mainspring.serving.http import (
    doors,
    edge,
    fast_path,
    feature_reads,
    native_answers,
    payload,
    probes,
    serving_app,
    v2_infer,
)
from mainspring.serving.models import book as model_book
from mainspring.serving.models import repository
from mainspring.serving.protocols.v2 import inference

if TYPE_CHECKING:
    from mainspring.serving.processes import part, shared_stats

_LOG: Final = logging.getLogger("mainspring.serving")


def create_app(
    settings: settings.Settings,
    *,
    online: ports.OnlineFeatures,
    loader: bundles.BundleLoader,
    issuer: identity.Issuer,
    introspection: accounts.Introspection | None = None,
    models: Mapping[str, repository.ModelFactory] | None = None,
    front: native_front.NativeFront | None = None,
    send_usage: usage.Send | None = None,
    certificates: tls.Certificates | None = None,
    part: part.Part | None = None,
) -> ASGIApp:
    """The data plane, with every bundle loaded that the traffic in force names.

    `introspection`: knows the tokens of service accounts; without it none counts.
    `models`: tensor models beside the endpoints, by name; they are served over v2 only.
    `send_usage`: tells the control API what was used; without it nothing is metered.
    `certificates`: of the gRPC port, and followed for that of HTTP, which the caller opens; None: no TLS.
    `part`: which of several processes this is; None: the only one.
    `front`: learns of the models and features that it can answer; the caller starts it before the app, or not.
    Errors: Misconfigured if a traffic document, one of its bundles, the expectations of a view, API keys or limits do
    not load.
    """
    serving = settings.serving
    store = online  # pushes are checked and reads recorded around it
    checked = expectations.gated(online, serving)
    if checked is not None:
        online = checked
    # The first that a push meets: what it leaves out is not held for having failed either.
    online = erasure_gate.ErasedFeatures(online, erased.ErasedList.of(settings.protection))
    online, log = recorded.start(online, serving)
    follows = part is not None and part.follows
    tables = traffic.TrafficStore(serving.traffic_dir, follows=follows)

    def check(digest: str) -> None:
        withdrawn.check(serving.bundle_dir, digest)
        trusted.check(digest)

    shelf = bundles.BundleShelf(
        loader,
        online,
        budget_bytes=serving.bundle_memory_bytes,
        is_pinned=functools.partial(tables.leads_to, endpoints=_names(serving.pinned_endpoints)),
        # The writer has loaded what traffic names; a follower does when it is first asked.
        may_load=lambda digest: follows and any(digest in traffic.digests(t) for t in tables.tables()),
        check=check,
    )
    book = stats.StatsBook(shadow_tolerance=serving.shadow_tolerance)
    served = endpoints.Endpoints(tables, shelf, book)
    withdrawals = withdrawn.Watch(serving.bundle_dir, served.forget)
    trusted = trust.Trust(
        serving.bundle_dir,
        serving.trusted_keys_dir,
        lambda: [view.digest for view in shelf.views()],
        served.forget,
    )
    served.restore()
    keys = api_keys.KeyRing(serving.access_dir / "keys.json", days=serving.api_key_days)
    limiter = caller_limits.Limiter(
        serving.access_dir / "limits.json",
        lambda name: name == doors.FEATURES or tables.has(name) or name in (models or {}),
        shared=None if part is None else part.limits,
    )
    masked = masking.Masking(serving.access_dir / "masking.json", serving.token_key)
    watching = watchers.start(serving, limiter, send_usage)
    cache = None
    if serving.response_cache_bytes:
        cache = response_cache.ResponseCache(serving.response_cache_bytes)
    answerer = plane.Plane(
        tables=tables,
        shelf=shelf,
        online=online,
        book=book,
        max_rows=serving.max_rows_per_request,
        max_explain_rows=serving.max_explain_rows,
        observers=watching.observers,
        cache=cache,
    )

    doorkeeper = gate.Gate(workers=serving.workers, max_waiting=serving.max_waiting)
    limits = payload.Limits(serving.max_body_bytes, serving.max_held_body_bytes, serving.body_timeout_seconds)
    known = repository.Repository(
        tables, shelf, answerer, max_rows=serving.max_rows_per_request, models=models
    )
    teller: shared_stats.Teller | None = None
    if part is not None:
        # Threads and imports of their own, for those who want them.
        from mainspring.serving.processes import shared_stats

        known.fix()
        if follows:
            teller = shared_stats.Teller(book, part.folder)
        else:
            book.add_from(functools.partial(shared_stats.told, part.folder))
    counts = model_book.ModelBook()
    known_accounts = accounts.Accounts(introspection)
    believed = accounts.BesideAccounts(issuer, known_accounts)
    asking = callers.Callers(
        believed,
        keys,
        known_accounts,
        environment=serving.environment,
        require_token=serving.require_token,
    )
    guarded = guard.Guard(asking, limiter, require_token=serving.require_token)
    if front is not None:
        front.guard(guarded, keys)
        front.follow(known)
        front.follow_features(store, shelf, masked)
        if not watching.see_rows:
            front.follow_endpoints(served, tables, shelf, store, known, book, watching.meter)
        counts.add_from(front.entries)
    natives = native_answers.NativeAnswers()
    if serving.fast_path:
        natives.follow(known)
        counts.add_from(natives.entries)
    inferring = inference.Inference(known, doorkeeper, counts)
    infer = v2_infer.Infer(inferring, limits)
    reads = feature_reads.FeatureReads(
        online, shelf, limits, doorkeeper, serving.max_rows_per_request, masked
    )
    receiver = otlp.Receiver(serving.trace_endpoint, serving.trace_headers, group="serving")
    exporter: otlp.SpanSender | None = None
    if serving.trace_endpoint:
        exporter = otlp.SpanSender(receiver, spans.SERVICE, distribution.version(), dumps=orjson.dumps)
        if front is not None:
            front.trace(exporter)
    tracer = traces.Tracer(exporter, serving.trace_share)
    admit = functools.partial(callers.admit, asking)

    async def follow_files() -> None:
        # Another process may have changed keys and limits: the front, which does not look, has them within a second. Or it
        # has withdrawn a bundle, of which nobody asks the disk for a request.
        while True:
            await asyncio.sleep(watched.LOOK_SECONDS / 2)
            try:
                if certificates is not None:
                    certificates.refresh()
                # They wait for a change of traffic that is under way.
                await asyncio.to_thread(withdrawals.look)
                await asyncio.to_thread(trusted.look)
                if front is not None:
                    keys.look()
                    limiter.look()
                    masked.look()
                    front.bring()
            except Exception:  # noqa: BLE001 - the edge of its task: revoked keys must not stay in force because it ended
                _LOG.exception("a look at the files of certificates, keys and limits failed")

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        stop_remote: Callable[[], Awaitable[None]] | None = None
        if serving.grpc_port:
            # 10 MB, and 0.05 s of a start, for those who want it.
            from mainspring.serving.grpc import server as grpc_server
            from mainspring.serving.grpc import service as grpc_service

            server = await grpc_server.start(
                grpc_service.Service(inferring, online, admit, guarded, tracer, distribution.version()),
                host=serving.host,
                port=serving.grpc_port,
                max_body_bytes=serving.max_body_bytes,
                max_calls=serving.workers + serving.max_waiting,
                credentials=None if certificates is None else certificates.for_grpc(),
                behind="" if front is None else front.grpc_socket,
            )
            stop_remote = functools.partial(grpc_server.stop, server)
        following = asyncio.create_task(follow_files())
        yield
        following.cancel()
        if stop_remote is not None:
            await stop_remote()
        await known_accounts.close()
        doorkeeper.close()
        answerer.close()
        watching.close()
        if teller is not None:
            teller.close()
        if exporter is not None:
            exporter.close()
        receiver.close()
        if log is not None:
            log.close()

    def exposition() -> Callable[[], Response]:
        # It imports prometheus_client, for the first scrape.
        from mainspring.serving.http import metrics

        return metrics.exposition(
            metrics.Books(
                inferring,
                served,
                shelf,
                limits,
                guarded,
                answerer.sanitiser,
                watching,
                front,
                exporter,
                cache,
            )
        )

    probed = probes.Probes(online.views, served.views, exposition)

    def build() -> ASGIApp:
        # They import FastAPI, which is most of a start: not before there is a request for them.
        from mainspring.serving.http import (
            access_routes,
            explain_routes,
            framework,
            routes,
            subject_routes,
            v2_routes,
        )

        return framework.build(
            [
                routes.build(
                    routes.Parts(
                        answerer,
                        served,
                        shelf,
                        online,
                        believed,
                        admit,
                        limits,
                        doorkeeper,
                        reads,
                        probed,
                        serving.max_rows_per_request,
                        checked,
                        serving.bundle_dir,
                        serving.trusted_keys_dir,
                    )
                ),
                explain_routes.build(explain_routes.Parts(answerer, limits, doorkeeper)),
                v2_routes.build(v2_routes.Parts(infer, probed, admit, distribution.version())),
                access_routes.build(access_routes.Parts(keys, limiter, believed, limits, masked)),
                subject_routes.build(subject_routes.Parts(store, believed, limits)),
            ],
            guarded,
            tracer,
        )

    built = serving_app.ServingApp(
        build,
        lifespan=lifespan,
        probed=edge.Edge(probed, guarded, tracer),
        builds_ahead=serving.builds_routes_ahead,
        hot=fast_path.FastPath(infer, natives, reads, guarded, tracer) if serving.fast_path else None,
    )
    if part is None or not part.follows:
        return built
    from mainspring.serving.processes import forward
    from mainspring.serving.processes import part as parts

    return forward.Forward(built, str(part.folder / parts.WRITER_SOCKET))


def _names(written: str) -> frozenset[str]:
    return frozenset(name.strip() for name in written.split(",") if name.strip())
