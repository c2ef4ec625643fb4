"""Tells receivers what happened to alerts: at least once each, with longer and longer waits, and on record.

What is to be told is a row, written with the alert itself, so that a process that dies forgets nothing. A receiver that cannot be
told (an address that is refused, a server that is not configured) is tried as any other: somebody may mend it meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors
from mainspring.core.contracts import alerts, base
from mainspring.platform import loops, mutation
from mainspring.platform import plane as control_plane
from mainspring.platform.monitoring import mail, store, webhooks
from mainspring.platform.secrets import reading as secret_reading

__all__ = ["tell", "tell_forever"]

_LOG: Final = logging.getLogger(__name__)

LOOK_SECONDS: Final = 2.0
_AT_ONCE: Final = 50
_FIRST_WAIT_SECONDS: Final = 5.0
_LONGEST_WAIT_SECONDS: Final = 3600.0


async def tell_forever(plane: control_plane.ControlPlane) -> None:
    """Again and again, what is due."""
    await loops.again_forever(
        lambda: tell(plane, now=base.utc_now()),
        every_seconds=LOOK_SECONDS,
        failed="telling of alerts failed",
        log=_LOG,
    )


async def tell(plane: control_plane.ControlPlane, *, now: datetime) -> int:
    """Try what is due by `now` once; answers how many were delivered."""
    async with plane.database.read() as connection:
        due = await store.due_deliveries(connection, now=now, limit=_AT_ONCE)
        told = [(row, await _told(connection, row)) for row in due]
    # A receiver that hangs must not keep the others waiting.
    return sum(await asyncio.gather(*(_try(plane, row, what, now) for row, what in told)))


async def _told(connection: AsyncConnection, row: sa.Row[Any]) -> dict[str, Any]:
    alert = store.alert_view(await store.find_alert(connection, row.alert_id))
    event = await store.find_event(connection, row.event_id)
    return {
        "kind": f"alert.{event.kind}",
        "delivery_id": row.delivery_id,
        "at": event.at,
        "message": event.detail.get("message", ""),
        "alert": alert.model_dump(mode="json", exclude={"history"}),
    }


async def _try(
    plane: control_plane.ControlPlane, row: sa.Row[Any], what: dict[str, Any], now: datetime
) -> bool:
    receiver = alerts.Receiver.model_validate(row.receiver)
    attempts = row.attempts + 1
    try:
        note = await _send(plane, row, receiver, what)
    except errors.MainspringError as error:
        _LOG.warning("alert %s was not told to `%s`: %s", row.alert_id, receiver.name, error.message)
        is_last = attempts >= plane.monitor.delivery_attempts
        wait = min(_FIRST_WAIT_SECONDS * 2 ** (attempts - 1), _LONGEST_WAIT_SECONDS)
        values = {
            "state": "given-up" if is_last else "due",
            "due_at": (now + timedelta(seconds=wait)).isoformat(),
            "error": error.message[:500],
        }
        await _settle(plane, row, receiver, attempts, values, now)
        return False
    await _settle(plane, row, receiver, attempts, {"state": "delivered", "error": note[:500]}, now)
    return True


async def _send(
    plane: control_plane.ControlPlane, row: sa.Row[Any], receiver: alerts.Receiver, what: dict[str, Any]
) -> str:
    """What is to be said of a delivery that was made, such as whom of several it will never reach."""
    s = plane.monitor
    if row.channel == "webhook":
        await webhooks.post(
            await _address(plane, row.project, receiver.webhook),
            json.dumps(what).encode(),
            key=await asyncio.to_thread(webhooks.load_key, s.webhook_key),
            delivery_id=row.delivery_id,
            timeout_seconds=s.delivery_timeout_seconds,
            allow_private=s.allow_private_webhooks,
        )
        return ""
    alert = what["alert"]
    lines = [
        alert["message"],
        "",
        f"endpoint {alert['endpoint']} of project {alert['project']} ({alert['environment']})",
        f"alert {alert['alert_id']}, {alert['state']}, opened {alert['opened_at']}",
        f"report {alert['report_id']}",
        *([f"runbook {alert['runbook']}"] if alert["runbook"] else []),
        f"mainspring alert acknowledge {alert['alert_id']} --reason '...'",
    ]
    password = (await asyncio.to_thread(plane.secrets.read, s.smtp_password)) if s.smtp_password else None
    return await asyncio.to_thread(
        mail.send,
        s,
        receiver.email,
        password=password,
        subject=f"[{what['kind']}] {alert['endpoint']}: {alert['message']}",
        text="\n".join(lines),
        message_id=row.delivery_id,
    )


async def _address(plane: control_plane.ControlPlane, project: str, webhook: str) -> str:
    """Where to post. Errors: those of reading a secret; Misconfigured where that is no address."""
    kind, _, name = webhook.partition(":")
    if kind != "secret":
        return webhook
    url = (await secret_reading.of_project(plane, project, name)).reveal()
    if not url.startswith(("https://", "http://")) or len(url.split()) != 1:
        raise errors.Misconfigured(
            f"secret `{name}` of project `{project}` is no address of a webhook; put one there"
        )
    return url


async def _settle(
    plane: control_plane.ControlPlane,
    row: sa.Row[Any],
    receiver: alerts.Receiver,
    attempts: int,
    values: dict[str, Any],
    now: datetime,
) -> None:
    """Put the try on record; its outcome in the alert's history, too, where it is the last."""
    by = f"receiver:{receiver.name}"

    async def do(connection: AsyncConnection) -> mutation.Change[None]:
        was_due = await store.update_delivery(connection, row.delivery_id, attempts=attempts, **values)
        if was_due and values["state"] != "due":
            detail = {"channel": row.channel, "attempts": attempts, "message": values["error"]}
            await store.add_event(connection, row.alert_id, values["state"], by=by, at=now, detail=detail)
        return mutation.Change(
            None,
            f"alert/{row.project}/{row.alert_id}",
            {
                "receiver": receiver.name,
                "channel": row.channel,
                "attempts": attempts,
                "error": values["error"],
            },
            is_new=was_due,
            outcome=_OUTCOMES[values["state"]],
        )

    await mutation.settle(plane, actor=by, action="alert.deliver", do=do)


_OUTCOMES: Final = {"delivered": "done", "due": "failed", "given-up": "given-up"}
