"""`mainspring keyset`: the data keys that seal a project's columns."""

from __future__ import annotations

import rich_click as click

from mainspring.platform.cli import output, session

__all__ = ["keyset"]

_COLUMNS = ("id", "made_at", "wrapped_by", "is_current")


@click.group()
def keyset() -> None:
    """Data keys of sealed columns: shown by id, rotated without anything being sealed anew."""


@keyset.command("show")
@click.argument("project_name")
@session.AS
@session.JSON
def keyset_show(project_name: str, actor: str, as_json: bool) -> None:
    """The keys by id, and what they are wrapped by."""
    with session.client(actor or "developer@local") as client:
        found = client.keyset(project_name).model_dump(mode="json")
    output.show(found if as_json else found["keys"], as_json=as_json, columns=_COLUMNS)


@keyset.command("rotate")
@click.argument("project_name")
@session.AS
@session.JSON
def keyset_rotate(project_name: str, actor: str, as_json: bool) -> None:
    """A new version of the ring's key, and the data keys wrapped by it. No sealed value changes."""
    _change(project_name, {"change": "rotate"}, actor, as_json)


@keyset.command("rewrap")
@click.argument("project_name")
@session.AS
@session.JSON
def keyset_rewrap(project_name: str, actor: str, as_json: bool) -> None:
    """Wrap the data keys by the ring's newest version, after somebody else rotated it."""
    _change(project_name, {"change": "rewrap"}, actor, as_json)


@keyset.command("add")
@click.argument("project_name")
@session.AS
@session.JSON
def keyset_add(project_name: str, actor: str, as_json: bool) -> None:
    """A new data key seals from now on; `mainspring data reseal` brings over what was sealed before."""
    _change(project_name, {"change": "add"}, actor, as_json)


@keyset.command("forget")
@click.argument("project_name")
@click.argument("key_id")
@click.option("--reason", required=True, help="What it still seals is lost for ever: why.")
@session.AS
@session.JSON
def keyset_forget(project_name: str, key_id: str, reason: str, actor: str, as_json: bool) -> None:
    """Destroy a data key, and with it whatever it still seals."""
    _change(project_name, {"change": "forget", "key_id": key_id, "reason": reason}, actor, as_json)


def _change(project_name: str, asked: dict[str, str], actor: str, as_json: bool) -> None:
    from mainspring.core.contracts import keysets

    with session.client(actor or "admin@local") as client:
        made = client.change_keyset(project_name, keysets.KeysetChange.model_validate(asked))
    found = made.model_dump(mode="json")
    output.show(found if as_json else found["keys"], as_json=as_json, columns=_COLUMNS)
