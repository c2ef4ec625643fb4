"""The control API, put together: the only place where its parts are chosen."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Request
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.openapi.config import OpenAPIConfig

from mainspring.core import distribution, errors, identity, otlp, settings
from mainspring.core import secrets as core_secrets
from mainspring.platform import backup, database
from mainspring.platform import plane as control_plane
from mainspring.platform.access_requests import routes as access_request_routes
from mainspring.platform.access_requests import timers
from mainspring.platform.approvals import routes as approval_routes
from mainspring.platform.audit import checkpoints
from mainspring.platform.audit import routes as audit_routes
from mainspring.platform.catalog import routes as catalog_routes
from mainspring.platform.costs import budget_routes, thresholds
from mainspring.platform.costs import routes as cost_routes
from mainspring.platform.decisions import routes as decision_routes
from mainspring.platform.decisions import writing
from mainspring.platform.endpoints import routes as endpoint_routes
from mainspring.platform.environments import routes as environment_routes
from mainspring.platform.erasure import replaying
from mainspring.platform.erasure import routes as erasure_routes
from mainspring.platform.events import routes as event_routes
from mainspring.platform.evidence import routes as evidence_routes
from mainspring.platform.health import routes as health_routes
from mainspring.platform.holds import routes as hold_routes
from mainspring.platform.http import bodies, conditional, idempotency, traced
from mainspring.platform.http import errors as http_errors
from mainspring.platform.idling import routes as idling_routes
from mainspring.platform.keys import routes as key_routes
from mainspring.platform.lineage import routes as lineage_routes
from mainspring.platform.members import routes as member_routes
from mainspring.platform.metering import routes as metering_routes
from mainspring.platform.metrics import requests as request_metrics
from mainspring.platform.metrics import routes as metric_routes
from mainspring.platform.models import routes as model_routes
from mainspring.platform.monitoring import routes as monitoring_routes
from mainspring.platform.monitoring import telling
from mainspring.platform.notebooks import routes as notebook_routes
from mainspring.platform.pipelines import routes as pipeline_routes
from mainspring.platform.policies import engine as policy_engine
from mainspring.platform.policies import in_force
from mainspring.platform.policies import routes as policy_routes
from mainspring.platform.portal import config as portal_config
from mainspring.platform.portal import me as me_routes
from mainspring.platform.portal import routes as portal_routes
from mainspring.platform.projects import routes as project_routes
from mainspring.platform.protection import (
    dpia_routes,
    keyset_routes,
    privacy_routes,
    purposes_routes,
    reading_routes,
)
from mainspring.platform.protection import routes as protection_routes
from mainspring.platform.quarantine import routes as quarantine_routes
from mainspring.platform.quotas import routes as quota_routes
from mainspring.platform.retention import routes as retention_routes
from mainspring.platform.runs import launcher as run_launcher
from mainspring.platform.runs import outbox
from mainspring.platform.runs import routes as run_routes
from mainspring.platform.schedules import engine
from mainspring.platform.schedules import routes as schedule_routes
from mainspring.platform.secrets import routes as secret_routes
from mainspring.platform.service_accounts import issuer as account_issuer
from mainspring.platform.service_accounts import routes as service_account_routes
from mainspring.platform.templates import routes as template_routes

HANDLERS = (
    *project_routes.HANDLERS,
    *environment_routes.HANDLERS,
    *template_routes.HANDLERS,
    *member_routes.HANDLERS,
    *access_request_routes.HANDLERS,
    *policy_routes.HANDLERS,
    *approval_routes.HANDLERS,
    *decision_routes.HANDLERS,
    *run_routes.HANDLERS,
    *endpoint_routes.HANDLERS,
    *model_routes.HANDLERS,
    *audit_routes.HANDLERS,
    *event_routes.HANDLERS,
    *cost_routes.HANDLERS,
    *budget_routes.HANDLERS,
    *metering_routes.HANDLERS,
    *lineage_routes.HANDLERS,
    *catalog_routes.HANDLERS,
    *protection_routes.HANDLERS,
    *reading_routes.HANDLERS,
    *purposes_routes.HANDLERS,
    *notebook_routes.HANDLERS,
    *secret_routes.HANDLERS,
    *service_account_routes.HANDLERS,
    *quota_routes.HANDLERS,
    *keyset_routes.HANDLERS,
    *dpia_routes.HANDLERS,
    *privacy_routes.HANDLERS,
    *erasure_routes.HANDLERS,
    *hold_routes.HANDLERS,
    *quarantine_routes.HANDLERS,
    *schedule_routes.HANDLERS,
    *pipeline_routes.HANDLERS,
    *key_routes.HANDLERS,
    *evidence_routes.HANDLERS,
    *monitoring_routes.HANDLERS,
    *idling_routes.HANDLERS,
    *retention_routes.HANDLERS,
    *health_routes.HANDLERS,
    *metric_routes.HANDLERS,
    *me_routes.HANDLERS,
    *portal_routes.HANDLERS,
)


def create_app(
    s: settings.Settings,
    *,
    issuer: identity.Issuer,
    launcher: run_launcher.RunLauncher,
    scheduler: engine.Scheduler | None = None,
) -> Litestar:
    """The application over its database, identities, launcher and scheduler (None: one in memory).

    Errors: InvalidSettings.
    """
    db = database.Database(s.control.database_url)
    plane = control_plane.ControlPlane(
        database=db,
        issuer=account_issuer.AccountTokens(issuer, db, by_others=bool(s.identity.account_claim)),
        launcher=launcher,
        scheduler=scheduler or engine.MemoryScheduler(),
        book=s.cost,
        train_workers=s.ray.train_workers,
        checkpointer=checkpoints.embedded(db, s.stack.state_dir, s.audit),
        state_dir=s.stack.state_dir,
        chosen=control_plane.Chosen(policy_engine.PolicyEngine.load(s.control.policies_dir)),
        bundle_dir=s.serving.bundle_dir,
        control=s.control,
        serving=s.serving,
        ray=s.ray,
        protection=s.protection,
        key_files=control_plane.KeyFiles(s.serving.trusted_keys_dir, s.workflow.payload_keys),
        monitor=s.monitor,
        quotas=s.quotas,
        secrets=core_secrets.Resolver(s.secrets),
    )

    told = otlp.told_by(s.telemetry, traced.SERVICE, distribution.version())
    book = request_metrics.RequestBook()
    pages, portal = portal_config.Pages(), portal_config.PortalConfig.of(s.identity)

    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncIterator[None]:
        await plane.database.open()
        try:
            await replaying.replay(plane)
            await in_force.begin(plane)
        except BaseException:
            await plane.database.close()
            raise
        assert plane.checkpointer is not None  # given above
        tasks = [
            asyncio.create_task(outbox.recover_forever(plane), name="recovery"),
            asyncio.create_task(plane.checkpointer.run(), name="checkpoints"),
            asyncio.create_task(timers.keep_forever(plane), name="access"),
            asyncio.create_task(thresholds.look_forever(plane), name="budgets"),
            asyncio.create_task(telling.tell_forever(plane), name="alerts"),
            asyncio.create_task(writing.write_forever(plane), name="reads"),
            asyncio.create_task(backup.sweep_forever(s.control), name="backups"),
        ]
        if s.control.policies_dir is not None:
            own = in_force.follow(plane, s.control.policies_dir)
            tasks.append(asyncio.create_task(own, name="policies"))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(errors.MainspringError):  # its log has it already
                await writing.write(plane)
            with contextlib.suppress(errors.MainspringError):  # its log has it already
                await plane.checkpointer.take()
            await plane.database.close()
            await asyncio.to_thread(told.close)

    return Litestar(
        route_handlers=list(HANDLERS),
        dependencies={
            "plane": Provide(lambda: plane, sync_to_thread=False),
            "credential": Provide(_credential),
            "request_book": Provide(lambda: book, sync_to_thread=False),
            "told": Provide(lambda: told, sync_to_thread=False),
            "pages": Provide(lambda: pages, sync_to_thread=False),
            "portal": Provide(lambda: portal, sync_to_thread=False),
        },
        exception_handlers=http_errors.HANDLERS,
        middleware=[
            traced.Traced(told.tracer, book),
            conditional.Conditional(),
            idempotency.Idempotency(plane),
        ],
        lifespan=[lifespan],
        state=State({"news": plane.news}),
        logging_config=None,  # `main` has installed ours
        openapi_config=OpenAPIConfig(title="Mainspring control API", version="v1"),
        request_class=bodies.BoundedRequest,
        request_max_body_size=1 << 20,
    )


async def _credential(
    request: Request[Any, Any, Any], plane: NamedDependency[control_plane.ControlPlane]
) -> str:
    """The Authorization header as it came; `mutation.mutate` and the reads authenticate it."""
    found = request.headers.get("authorization", "")
    await plane.issuer.prepare(found)
    return found
