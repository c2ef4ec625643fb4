"""`mainspring endpoint canary`: the canary at an endpoint, paused, resumed, promoted and aborted by people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import rich_click as click

from mainspring.core import errors
from mainspring.platform.cli import output, session

if TYPE_CHECKING:
    from mainspring.core.client import control as control_client

__all__ = ["canary"]

_NAME: Final = click.argument("name")
_RUN: Final = click.option(
    "--run",
    "run_id",
    default="",
    help="A run that waits for others there. Default: the one whose canary is in the traffic.",
)
_REASON: Final = click.option("--reason", required=True, help="On record with the order.")


@click.group()
def canary() -> None:
    """The canary at an endpoint: look at it, pause it, take it on, or take it back."""


@canary.command("show")
@_NAME
@_RUN
@session.AS
@session.JSON
def canary_show(name: str, run_id: str, actor: str, as_json: bool) -> None:
    """At which share it is judged, by which run, and who paused it."""
    with session.client(actor or "developer@local") as client:
        found = client.canary(_run_at(client, name, run_id))
        output.show(found.model_dump(mode="json"), as_json=as_json)


@canary.command("pause")
@_NAME
@_REASON
@session.AS
@session.JSON
def canary_pause(name: str, reason: str, actor: str, as_json: bool) -> None:
    """Keep its share of traffic as it is; a candidate that breaks a limit still goes back."""
    _steer(name, "pause", reason, actor or "developer@local", as_json=as_json)


@canary.command("resume")
@_NAME
@_REASON
@session.AS
@session.JSON
def canary_resume(name: str, reason: str, actor: str, as_json: bool) -> None:
    """Go on where it was paused, with the time that its step had left."""
    _steer(name, "resume", reason, actor or "developer@local", as_json=as_json)


@canary.command("promote")
@_NAME
@click.option(
    "--to",
    "percent",
    type=click.IntRange(1, 100),
    default=None,
    help="A later share of it, or 100: all traffic. Default: its next one.",
)
@_REASON
@session.AS
@session.JSON
def canary_promote(name: str, percent: int | None, reason: str, actor: str, as_json: bool) -> None:
    """Give it more traffic past its gates, which is on record. Whoever may approve may; in `prod` nobody his own run."""
    _steer(name, "promote", reason, actor or "approver@local", percent=percent or 0, as_json=as_json)


@canary.command("abort")
@_NAME
@_RUN
@_REASON
@session.AS
@session.JSON
def canary_abort(name: str, run_id: str, reason: str, actor: str, as_json: bool) -> None:
    """Give its traffic back to the stable bundle; its run ends as rolled back. One that waits ends before its turn."""
    _steer(name, "abort", reason, actor or "developer@local", run_id=run_id, as_json=as_json)


def _steer(
    name: str, order: str, reason: str, actor: str, *, percent: int = 0, run_id: str = "", as_json: bool
) -> None:
    from mainspring.core.contracts import canaries

    with session.client(actor) as client:
        run_id = _run_at(client, name, run_id)
        found = client.steer(run_id, canaries.CanaryOrder(order), reason=reason, to_percent=percent)
        output.show(found.model_dump(mode="json"), as_json=as_json)


def _run_at(client: control_client.ControlClient, name: str, chosen: str = "") -> str:
    """The run whose canary has traffic there, or `chosen`, if that is to deploy there.

    Errors: DependencyDown without serving; Conflict where there is none.
    """
    from mainspring.core.contracts import canaries

    if chosen:
        if (found := client.canary(chosen)).endpoint != name:
            raise errors.Conflict(
                f"run `{chosen}` does not deploy to `{name}`, but to `{found.endpoint}`; name that one",
                resource="run",
                name=chosen,
            )
        return chosen
    live = client.live_endpoint(name)
    if live.traffic is None:
        raise errors.DependencyDown(live.unavailable, name="serving")
    run_id = live.traffic.set_by.removesuffix(f"-{canaries.CHILD}")
    is_runs = live.traffic.set_by.startswith("run_")
    # A shadow may also be one that nobody judges.
    if is_runs and live.traffic.canary is None and live.traffic.shadow is not None:
        is_runs = client.canary(run_id).is_shadow
    if not is_runs or (live.traffic.canary is None and live.traffic.shadow is None):
        raise errors.Conflict(
            f"no run judges a canary at `{name}`; see `mainspring endpoint traffic {name}`",
            resource="endpoint",
            name=name,
        )
    return run_id
