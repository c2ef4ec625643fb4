"""`mainspring keys`: which keys sign and encrypt, and their rotation. API keys of serving are `--api`'s."""

from __future__ import annotations

from typing import Any, Final

import rich_click as click

from mainspring.platform.cli import access, output, session

__all__ = ["keys"]

_COLUMNS: Final = ("kind", "key_id", "state", "since", "reason")
_API_COLUMNS: Final = ("key_id", "caller", "created_at", "expires_at", "revoked_at", "replaces")
_REASON: Final = click.option("--reason", required=True, help="Why; it is on record.")
_OVERLAP: Final = click.option(
    "--overlap",
    "overlap_minutes",
    default="1d",
    show_default=True,
    callback=access.minutes,
    help="How long the old key counts beside the new one: `30m`, `12h`, `7d`.",
)


@click.group()
def keys() -> None:
    """Keys that sign bundles and encrypt payloads, services' token, and callers' API keys: list, rotate, deny."""


@keys.command("list")
@click.option("--api", "of_callers", is_flag=True, help="API keys of serving's callers instead. Role: admin.")
@session.AS
@session.JSON
def keys_list(of_callers: bool, actor: str, as_json: bool) -> None:
    """Every key that is known, without what is secret of it."""
    if of_callers:
        with session.serving(actor or "admin@local") as serving:
            found = [view.model_dump(mode="json") for view in serving.api_keys()]
        output.show(found, as_json=as_json, columns=_API_COLUMNS)
        return
    found, after = [], ""
    with session.client(actor or "developer@local") as client:
        while True:
            page = client.keys(after=after)
            found += page.items
            if not (after := page.next):
                break
    output.show(found, as_json=as_json, columns=_COLUMNS)


def _change(asked: dict[str, Any], actor: str, as_json: bool) -> None:
    from mainspring.core.contracts import keys as contracts

    wanted = contracts.KeyChange.model_validate(asked)
    with session.client(actor or "admin@local") as client:
        output.show(client.change_keys(wanted).model_dump(mode="json"), as_json=as_json)


@keys.command("rotate")
@click.argument("kind", type=click.Choice(["bundles", "payloads", "tokens"]))
@_OVERLAP
@_REASON
@session.AS
@session.JSON
def keys_rotate(kind: str, overlap_minutes: int, reason: str, actor: str, as_json: bool) -> None:
    """A new key is used once everybody has it; the old one goes when nothing needs it any more. Role: admin."""
    _change({"kind": kind, "reason": reason, "overlap_minutes": overlap_minutes}, actor, as_json)


@keys.command("deny")
@click.argument("key_id")
@_REASON
@session.AS
@session.JSON
def keys_deny(key_id: str, reason: str, actor: str, as_json: bool) -> None:
    """KEY_ID is compromised: what it signed is denied at once, whatever answers by it. Role: admin.

    `mainspring keys status` then lists what must be signed again.
    """
    _change({"action": "deny", "key_id": key_id, "reason": reason}, actor, as_json)


@keys.command("vouch")
@click.argument("digests", nargs=-1, required=True)
@_REASON
@session.AS
@session.JSON
def keys_vouch(digests: tuple[str, ...], reason: str, actor: str, as_json: bool) -> None:
    """Sign again bundles that a denied key signed: you have compared these digests with the audit log. Role: admin."""
    _change({"action": "vouch", "bundles": list(digests), "reason": reason}, actor, as_json)


@keys.command("status")
@click.argument("change_id")
@session.AS
@session.JSON
def keys_status(change_id: str, actor: str, as_json: bool) -> None:
    """Where a change of keys is, and what it found."""
    with session.client(actor or "developer@local") as client:
        output.show(client.key_change(change_id).model_dump(mode="json"), as_json=as_json)


@keys.command("rotate-api")
@click.argument("key_id")
@_OVERLAP
@session.AS
@session.JSON
def keys_rotate_api(key_id: str, overlap_minutes: int, actor: str, as_json: bool) -> None:
    """A key for the same caller in the place of KEY_ID, shown once; the old one expires after the overlap. Role: admin."""
    with session.serving(actor or "admin@local") as serving:
        issued = serving.rotate_api_key(key_id, overlap_minutes=overlap_minutes)
        output.show(issued.model_dump(mode="json"), as_json=as_json)
