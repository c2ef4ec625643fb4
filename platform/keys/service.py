"""Start changes of keys, and put on record what they did. Keys themselves lie in files: no secret half comes by here."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity, ids, payload_keys, token_files
from mainspring.core.contracts import control, keys, training
from mainspring.core.models import signing, withdrawn_keys
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.audit import store as audit_store
from mainspring.platform.runs import outbox

#: What an event of a change of keys may call itself: a service must not write other words into the log by this way.
_WORDS: Final = ("key.switch", "key.sign-again", "key.withdraw", "key.deny", "key.end")


async def read(plane: control_plane.ControlPlane, credential: str, *, after: str, limit: int) -> control.Page:
    """A page by `<kind>/<id>`. Roles: any of the platform. Errors: InvalidSettings for a file that holds no key."""
    async with reads.reading(plane, credential, action="key.read") as reader:
        reader.require_platform()
    files = plane.key_files
    found = await asyncio.to_thread(
        lambda: [
            *_of_bundles(files.trusted_dir),
            *_of_payloads(files.payloads),
            *_of_tokens(plane.control.tokens_file),
        ]
    )
    named = sorted((f"{view.kind}/{view.key_id}", view) for view in found)
    left = [(name, view) for name, view in named if name > after]
    return control.Page(
        items=[view.model_dump(mode="json") for _, view in left[:limit]],
        next=left[limit - 1][0] if len(left) > limit else "",
    )


async def change(
    plane: control_plane.ControlPlane, credential: str, asked: keys.KeyChange
) -> training.RunStatus:
    """Role: admin of the platform. Errors: Conflict while a rotation of that kind is under way; DependencyDown."""

    async def work(actor: identity.Actor) -> tuple[training.RunStatus, dict[str, Any]]:
        request = keys.KeyRequest(
            change_id=_name(asked), requested_by=actor.name, **asked.model_dump(mode="json")
        )
        await outbox.ask(plane.launcher.start_key_change(request))
        status = training.RunStatus(run_id=request.change_id, stage=training.Stage.PENDING)
        return status, {"change_id": request.change_id}

    return await mutation.around(
        plane,
        credential,
        action=f"key.{asked.action}",
        right="key.change",
        resource=f"keys/{asked.kind}",
        on=access.platform(kind=str(asked.kind), change=str(asked.action)),
        detail=asked.model_dump(mode="json"),
        work=work,
    )


async def show(plane: control_plane.ControlPlane, credential: str, change_id: str) -> training.RunStatus:
    """Roles: any of the platform. Errors: NotFound."""
    async with reads.reading(plane, credential, action="key.read") as reader:
        reader.require_platform()
    _check(change_id)
    return await outbox.ask(plane.launcher.status(change_id))


async def report(
    plane: control_plane.ControlPlane, credential: str, change_id: str, event: training.RunEvent
) -> control.AuditView:
    """Errors: InvalidRequest for an event of another change, or with a word that is none of theirs; Conflict if the key
    came with other content.
    """
    _check(change_id)
    if event.run_id != change_id:
        raise errors.InvalidRequest(
            f"the event is of `{event.run_id}`, the path names `{change_id}`; post it to its own",
            field="run_id",
        )
    if event.action not in _WORDS:
        raise errors.InvalidRequest(
            f"`{event.action}` is nothing that a change of keys does; it has {', '.join(f'`{w}`' for w in _WORDS)}",
            field="action",
        )
    resource = f"key-change/{change_id}"

    async def do(connection: AsyncConnection, _actor: identity.Actor) -> mutation.Change[None]:
        known = await audit_store.is_recorded(connection, event.event_key)
        if known is None:
            return mutation.Change(
                None, resource, event.detail, event_key=event.event_key, on_behalf_of=event.actor
            )
        view = audit_store.view(known)
        if (view.actor, view.action, view.resource) != (event.actor, event.action, resource):
            raise errors.Conflict(
                f"event key `{event.event_key}` is taken by `{view.action}` of `{view.resource}`; give each its own",
                resource="event",
                name=event.event_key,
            )
        return mutation.Change(None, resource, is_new=False)

    await mutation.mutate(
        plane,
        credential,
        action=event.action,
        right="key.report",
        resource=resource,
        on=access.platform(),
        do=do,
    )
    async with plane.database.read() as connection:
        row = await audit_store.is_recorded(connection, event.event_key)
    if row is None:
        raise errors.InvariantViolated("a recorded event is not in the log", where="platform.keys.report")
    return audit_store.view(row)


def _name(asked: keys.KeyChange) -> str:
    if asked.action is keys.KeyAction.ROTATE:
        return f"rotate-{asked.kind}"
    if asked.action is keys.KeyAction.DENY:
        return f"deny-{(asked.key_id or '').removeprefix('sha256:')[:16]}"
    return ids.new_id("vouch")


def _check(change_id: str) -> None:
    """Runs are not looked at by this way. Errors: NotFound."""
    if not change_id.startswith(("rotate-", "deny-", "vouch_")):
        raise errors.NotFound(
            f"no change of keys `{change_id}`; their ids begin with `rotate-`, `deny-` or `vouch_`",
            resource="key change",
            name=change_id,
        )


def _of_bundles(trusted: Path) -> list[keys.KeyView]:
    known = signing.TrustedKeys.load(trusted, even_withdrawn=True)
    found = []
    for key_id in known.key_ids:
        path = trusted / (key_id.removeprefix("sha256:") + signing.PUBLIC_SUFFIX)
        mark = withdrawn_keys.find(trusted, key_id)
        since = datetime.fromtimestamp(path.stat().st_mtime, UTC) if path.is_file() else None
        found.append(
            keys.KeyView(
                kind=keys.KeyKind.BUNDLES,
                key_id=key_id,
                state="trusted" if mark is None else "withdrawn",
                since=since,
                public_hex=known.public_hex(key_id),
                reason="" if mark is None else f"{mark.reason}, by `{mark.by}`",
                is_compromised=mark is not None and mark.is_compromised,
            )
        )
    return found


def _of_tokens(path: Path) -> list[keys.KeyView]:
    return [
        keys.KeyView(kind=keys.KeyKind.TOKENS, key_id=token_id, state="trusted", is_shown=number == 0)
        for number, token_id in enumerate(token_files.ids(path, identity.SERVICE))
    ]


def _of_payloads(path: Path) -> list[keys.KeyView]:
    return [
        keys.KeyView(kind=keys.KeyKind.PAYLOADS, key_id=key_id, state="decrypts" if number else "encrypts")
        for number, key_id in enumerate(payload_keys.ids(path))
    ]
