"""`mainspring endpoint`: whose a name is, who answers there, and bringing another bundle there. Changes are runs of the control API."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, BinaryIO, Final

import rich_click as click

from mainspring.core import errors
from mainspring.platform.cli import canaries, output, session

if TYPE_CHECKING:
    from mainspring.core.client import control as control_client
    from mainspring.core.contracts import control, deployment

__all__ = ["endpoint"]

_NAME: Final = click.argument("name")
_PURPOSE: Final = click.option(
    "--purpose", default="", help="What for, as `mainspring purpose list` has them."
)
_KEY: Final = click.option("--key", default="", help="Idempotency key; default: a fresh one.")
_CANARY: Final = click.option(
    "--canary",
    "shares",
    type=click.IntRange(1, 99),
    multiple=True,
    help="A share of traffic to judge it at; repeat it, ascending. Default: 5, 25 and 50.",
)
_SHADOW: Final = click.option(
    "--shadow-seconds",
    type=click.FloatRange(0, 2_592_000),
    default=0.0,
    help="How long it is a shadow first, which answers nobody, and judged; default: not at all.",
)
_PSI: Final = click.option(
    "--max-score-psi",
    type=click.FloatRange(0, min_open=True),
    default=None,
    help="How far its scores may be from those in service, as a population stability index; 0.2 is a shift. Default: not judged.",
)
_WAIT: Final = click.option(
    "--max-wait-seconds",
    type=click.FloatRange(0, 2_592_000),
    default=None,
    help="How long it waits for deployments that came before it; 0: it is refused where there is one. Default: a day.",
)
_IDLE: Final = ("endpoint", "project", "environment", "last_used_at", "noticed_at", "stopped_at")
_TRAFFIC: Final = ("role", "bundle", "percent", "requests", "errors", "p95_ms")


@click.group()
def endpoint() -> None:
    """Endpoints: whose they are, who answers there, and who does next."""


endpoint.add_command(canaries.canary)


@endpoint.command("list")
@click.option("--project", "project_name", default="")
@session.AS
@session.JSON
def endpoint_list(project_name: str, actor: str, as_json: bool) -> None:
    """Endpoints by name, with the project that each belongs to."""
    with session.client(actor or "developer@local") as client:
        found = [one.model_dump(mode="json") for one in client.each_endpoint(project=project_name)]
    columns = ("name", "project", "environment", "claimed_at", "claimed_by")
    output.show(found, as_json=as_json, columns=columns)


@endpoint.command("show")
@_NAME
@session.AS
@session.JSON
def endpoint_show(name: str, actor: str, as_json: bool) -> None:
    """Whose it is."""
    with session.client(actor or "developer@local") as client:
        output.show(client.endpoint(name).model_dump(mode="json"), as_json=as_json)


@endpoint.command("traffic")
@_NAME
@session.AS
@session.JSON
def endpoint_traffic(name: str, actor: str, as_json: bool) -> None:
    """Who answers there now, to what share, and how it went since the traffic was set."""
    with session.client(actor or "developer@local") as client:
        table, stats = _traffic(live := client.live_endpoint(name)), live.stats
    seen = {} if stats is None else {one.bundle_digest: one for one in stats.bundles}
    shares = [("stable", table.stable, 100 - table.canary_percent)]
    shares += [("canary", table.canary, table.canary_percent)] if table.canary else []
    shares += [("shadow", table.shadow, 0)] if table.shadow else []
    rows = []
    for role, digest, percent in shares:
        told = seen.get(digest)
        rows.append(
            {
                "role": role,
                "bundle": digest,
                "percent": percent,
                "requests": told.requests if told else 0,
                "errors": told.errors if told else 0,
                "p95_ms": round(told.latency_p95_ms, 3) if told else None,
            }
        )
    if as_json:
        head = {"endpoint": name, "version": table.version, "set_by": table.set_by}
        output.show({**head, "bundles": rows}, as_json=True)
        return
    click.echo(f"{name}: version {table.version}, set by {table.set_by or 'nobody'}", err=True)
    output.show(rows, as_json=False, columns=_TRAFFIC)


@endpoint.command("history")
@_NAME
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@session.AS
@session.JSON
def endpoint_history(name: str, limit: int, actor: str, as_json: bool) -> None:
    """What it served, from when on, by which run and whose approval; newest first."""
    with session.client(actor or "developer@local") as client:
        rows = client.endpoint_history(name, limit=limit).items
    if not as_json:
        rows = [{**row, "stable": row["stable"][7:19], "canary": row["canary"][7:19]} for row in rows]
    columns = (
        "at",
        "action",
        "version",
        "stable",
        "canary",
        "canary_percent",
        "by",
        "approved_by",
        "run_id",
        "reason",
    )
    output.show(rows, as_json=as_json, columns=columns)


@endpoint.command("idle")
@click.option("--project", "project_name", default="")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True)
@session.AS
@session.JSON
def endpoint_idle(project_name: str, limit: int, actor: str, as_json: bool) -> None:
    """When each was asked last, and whether it was told of as idle, or stopped."""
    with session.client(actor or "developer@local") as client:
        found = client.idle_endpoints(project=project_name, limit=limit).items
    output.show(found, as_json=as_json, columns=_IDLE)


@endpoint.command("predict")
@_NAME
@click.argument("file", type=click.File("rb"))
@click.option("--explain", is_flag=True, help="With what each input column added.")
@session.AS
@session.JSON
def endpoint_predict(name: str, file: BinaryIO, explain: bool, actor: str, as_json: bool) -> None:
    """Ask it about the entities or rows of FILE, a JSON object as serving takes it; `-` is stdin."""
    from mainspring.core.contracts import prediction

    try:
        asked = prediction.PredictRequest.model_validate(json.load(file))
    except json.JSONDecodeError as error:
        raise click.UsageError(f"`{file.name}` is no JSON: {error}; correct it") from error
    with session.client(actor or "developer@local") as client:
        found = client.explain(name, asked) if explain else client.predict(name, asked)
        output.show(found.model_dump(mode="json"), as_json=as_json)


@endpoint.command("promote")
@_NAME
@click.argument("digest")
@click.option("--reason", default="", help="On record with the deployment.")
@_CANARY
@_SHADOW
@_PSI
@_WAIT
@_PURPOSE
@_KEY
@session.DRY_RUN
@session.AS
@session.JSON
def endpoint_promote(
    name: str,
    digest: str,
    reason: str,
    shares: tuple[int, ...],
    shadow_seconds: float,
    max_score_psi: float | None,
    max_wait_seconds: float | None,
    purpose: str,
    key: str,
    dry_run: bool,
    actor: str,
    as_json: bool,
) -> None:
    """Bring the bundle of DIGEST into service there, by steps that are judged; `run watch` follows it."""
    with session.client(actor or "developer@local") as client:
        claim = client.endpoint(name)
        wanted = _wanted(
            claim, digest, reason, key, shares, shadow_seconds, max_score_psi, max_wait_seconds, purpose
        )
        _deploy(client, wanted, dry_run=dry_run, as_json=as_json)


@endpoint.command("rollback")
@_NAME
@click.option("--to", "digest", default="", help="A bundle; default: the one that was in service before.")
@click.option("--reason", required=True, help="On record with the deployment.")
@_CANARY
@_SHADOW
@_PSI
@_WAIT
@_PURPOSE
@_KEY
@session.DRY_RUN
@session.AS
@session.JSON
def endpoint_rollback(
    name: str,
    digest: str,
    reason: str,
    shares: tuple[int, ...],
    shadow_seconds: float,
    max_score_psi: float | None,
    max_wait_seconds: float | None,
    purpose: str,
    key: str,
    dry_run: bool,
    actor: str,
    as_json: bool,
) -> None:
    """Bring back the bundle that answered there before the present one. It is a deployment, judged and on record as any."""
    with session.client(actor or "developer@local") as client:
        claim = client.endpoint(name)
        if not digest:
            digest = _before(client, claim, _traffic(client.live_endpoint(name)).stable)
        wanted = _wanted(
            claim, digest, reason, key, shares, shadow_seconds, max_score_psi, max_wait_seconds, purpose
        )
        _deploy(client, wanted, dry_run=dry_run, as_json=as_json)


@endpoint.command("release")
@_NAME
@click.option("--reason", required=True, help="On record with it.")
@_KEY
@session.DRY_RUN
@session.AS
@session.JSON
def endpoint_release(name: str, reason: str, key: str, dry_run: bool, actor: str, as_json: bool) -> None:
    """Take it out of service: its traffic is taken away and its models leave memory. The name stays the project's."""
    from mainspring.core import ids
    from mainspring.core.contracts import control

    with session.client(actor or "approver@local") as client:
        claim = client.endpoint(name)
        wanted = control.RunCreate.model_validate(
            {
                "project": claim.project,
                "kind": "release",
                "environment": claim.environment,
                "endpoint": claim.name,
                "release": {"reason": reason},
                "idempotency_key": key or ids.new_id("key"),
            }
        )
        _start(client, f"release of {name}", wanted, dry_run=dry_run, as_json=as_json)


@endpoint.command("delete")
@_NAME
@session.DRY_RUN
@session.AS
def endpoint_delete(name: str, dry_run: bool, actor: str) -> None:
    """Give its name back. Refused while somebody answers there; `endpoint release` first. What is on record stays."""
    with session.client(actor or "approver@local") as client:
        if dry_run:
            before = client.endpoint(name).model_dump(mode="json")
            output.show_change(f"endpoint {name}", before, None, as_json=False)
            return
        client.delete_endpoint(name)
    click.echo(f"{name}: deleted", err=True)


def _traffic(live: control.EndpointLive) -> deployment.TrafficTable:
    """Errors: DependencyDown where serving does not say who answers."""
    if live.traffic is None:
        raise errors.DependencyDown(live.unavailable, name="serving")
    return live.traffic


def _wanted(
    claim: control.EndpointClaim,
    digest: str,
    reason: str,
    key: str,
    shares: tuple[int, ...],
    shadow_seconds: float,
    max_score_psi: float | None,
    max_wait_seconds: float | None,
    purpose: str,
) -> control.RunCreate:
    from mainspring.core import ids
    from mainspring.core.contracts import control

    return control.RunCreate(
        project=claim.project,
        kind=control.RunKind.DEPLOY,
        environment=claim.environment,
        endpoint=claim.name,
        bundle_digest=digest,
        canary_percents=shares,
        shadow_seconds=shadow_seconds,
        max_score_psi=max_score_psi,
        max_wait_seconds=max_wait_seconds,
        cause=reason,
        purpose=purpose,
        idempotency_key=key or ids.new_id("key"),
    )


def _deploy(
    client: control_client.ControlClient, wanted: control.RunCreate, *, dry_run: bool, as_json: bool
) -> None:
    _start(client, f"deployment to {wanted.endpoint}", wanted, dry_run=dry_run, as_json=as_json)


def _start(
    client: control_client.ControlClient,
    what: str,
    wanted: control.RunCreate,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    if dry_run:
        names = {"project", "kind", "environment", "endpoint", "bundle_digest", "canary_percents", "cause"}
        limits = {"shadow_seconds", "max_score_psi", "max_wait_seconds"}
        after = wanted.model_dump(mode="json", include=names)
        after |= wanted.model_dump(mode="json", include=limits, exclude_defaults=True)
        output.show_change(what, None, after, as_json=as_json)
        return
    click.echo(f"idempotency key: {wanted.idempotency_key}", err=True)
    output.show(client.create_run(wanted).model_dump(mode="json"), as_json=as_json)


def _before(client: control_client.ControlClient, claim: control.EndpointClaim, present: str) -> str:
    """The bundle of the newest run that brought another one into service there. Errors: NotFound."""
    for run in client.each_run(project=claim.project):
        is_there = run.endpoint == claim.name and run.stage == "done"
        if is_there and run.kind in ("deploy", "train") and run.bundle_digest not in ("", present):
            return run.bundle_digest
    raise errors.NotFound(
        f"no run brought another bundle than the present one to `{claim.name}`; name one by `--to`",
        resource="bundle",
        name=claim.name,
    )
