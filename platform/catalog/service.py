"""Put a project's catalog in force, search it, and show an entry with who uses it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import canonical, errors, identity
from mainspring.core.catalog import rules
from mainspring.core.contracts import base, catalog, control, masking, protection
from mainspring.core.protection import showing
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.catalog import store, telling
from mainspring.platform.http import versions
from mainspring.platform.lineage import store as lineage_store
from mainspring.platform.projects import store as project_store
from mainspring.platform.protection import masking_service
from mainspring.platform.protection import service as protection_service
from mainspring.platform.protection import store as protection_store

#: Edges that are followed to find who uses an entry.
MAX_EDGES: Final = 20_000


async def put(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    new: Sequence[catalog.CatalogEntry],
    *,
    if_match: str = "",
) -> catalog.CatalogReceipt:
    """Make `new` the whole catalog of `project`, or change nothing; the same again changes nothing.

    What a person confirmed of persons is put as personal, whatever the definitions say. A column whose name says that it
    tells of persons, and of which nobody has said anything, keeps the catalog back, and waits for a person from then on.
    Whoever applies a project's code puts all that it says, so the last one counts; `if_match` is for whoever edits.
    Errors: NotFound for the project; InvalidRequest by the rules of `core.catalog.rules`, or for a name given twice;
    PreconditionFailed if it is not the one of `if_match`.
    """
    names = [entry.name for entry in new]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise errors.InvalidRequest(f"entry `{twice[0]}` is given twice; send each once", field="entries")
    rules.check(new, project=project)
    undecided: dict[str, list[protection.ColumnFinding]] = {}

    async def do(
        connection: AsyncConnection, _actor: identity.Actor
    ) -> mutation.Change[catalog.CatalogReceipt]:
        nonlocal new
        await project_store.find(connection, project)
        decided = await protection_store.decided(connection, project)
        undecided.update(rules.undecided(new, decided))
        suspected = {(e, f.column): f.kind for e, found in undecided.items() for f in found}
        waiting = {**suspected, **await protection_store.waiting(connection, project)}
        rules.check_decided(new, waiting, project=project)
        classes = await protection_store.confirmed(connection, project)
        new = [rules.confirmed(e, classes[e.name]) if e.name in classes else e for e in new]
        before = await store.entries(connection, project)
        changed = [e for e in new if before.get((e.kind, e.name)) != e.model_dump(mode="json")]
        gone = sorted(set(before) - {(e.kind, e.name) for e in new})
        count = len(changed) + len(gone)
        if count:
            versions.check(if_match, _version(project, before), resource="catalog", name=project)
        await store.remove(connection, project, gone)
        await store.put(connection, project, changed)
        after: dict[tuple[str, str], dict[str, Any]] = {
            (e.kind, e.name): e.model_dump(mode="json") for e in new
        }
        receipt = catalog.CatalogReceipt(
            project=project, entries=len(new), changed=count, version=_version(project, after)
        )
        detail = {
            "entries": len(new),
            "changed": [e.name for e in changed][:50],
            "gone": [name for _, name in gone][:50],
            "digest": canonical.digest([e.model_dump(mode="json") for e in new]),
        }
        told = telling.told(project, changed, gone)
        return mutation.Change(
            receipt, f"catalog/{project}", detail, is_new=receipt.changed > 0, lineage=told
        )

    try:
        return await mutation.mutate(
            plane,
            credential,
            action="catalog.put",
            resource=f"catalog/{project}",
            on=access.project(project),
            do=do,
        )
    except errors.InvalidRequest:
        # Nothing of it was kept: what is suspected has to be, or nobody could decide about it.
        for name, found in undecided.items():
            asked = protection.Findings(entry=name, findings=found)
            await protection_service.find(plane, credential, project, asked)
        raise


async def summarise(
    plane: control_plane.ControlPlane, credential: str, project: str
) -> catalog.CatalogSummary:
    """A project's catalog as a whole, for whoever is to change it. Errors: NotFound for the project."""
    async with reads.reading(plane, credential, action="catalog.read") as reader:
        await reader.project(project)
        found = await store.entries(reader.connection, project)
    return catalog.CatalogSummary(project=project, entries=len(found), version=_version(project, found))


async def search(
    plane: control_plane.ControlPlane, credential: str, wanted: store.Wanted, *, after: str, limit: int
) -> control.Page:
    """A page of entries by project and name, of projects that the actor may know of, without their users."""
    async with reads.reading(plane, credential, action="catalog.read") as reader:
        visible = await reader.projects()
        rows = await store.page(
            reader.connection, wanted, after=_cursor(after), limit=limit + 1, visible=visible
        )
        forms = {name: masking_service.forms_for(plane, reader, name) for name in {r.project for r in rows}}
    now = base.utc_now()
    items = [_view(row, now, forms[row.project]).model_dump(mode="json") for row in rows[:limit]]
    last = json.dumps([rows[limit - 1].project, rows[limit - 1].name]) if len(rows) > limit else ""
    return control.Page(items=items, next=last)


async def show(
    plane: control_plane.ControlPlane, credential: str, project: str, name: str
) -> catalog.CatalogView:
    """One entry with what lineage knows to be made of it. Errors: NotFound with close names."""
    async with reads.reading(plane, credential, action="catalog.read") as reader:
        connection, is_known = reader.connection, reader.may(project)
        row = await store.find(connection, project, name) if is_known else None
        if row is None:
            known = await store.names(connection, project) if is_known else []
            close = tuple(difflib.get_close_matches(name, known, n=3))
            hint = f"did you mean `{close[0]}`" if close else "see `mainspring catalog list`"
            raise errors.NotFound(
                f"project `{project}` has no `{name}` in the catalog; {hint}",
                resource="catalog entry",
                name=name,
                did_you_mean=close,
            )
        forms = masking_service.forms_for(plane, reader, project)
        users, is_cut = await _users(connection, project, name, await reader.projects())
    return _view(row, base.utc_now(), forms).model_copy(
        update={"downstream": users, "is_downstream_cut": is_cut}
    )


def _version(project: str, entries: Mapping[tuple[str, str], dict[str, Any]]) -> str:
    return versions.of(project, [entries[key] for key in sorted(entries)])


async def _users(
    connection: AsyncConnection, project: str, name: str, visible: frozenset[str] | None
) -> tuple[tuple[catalog.CatalogUser, ...], bool]:
    starts = await lineage_store.find(connection, project, name, version="", column="")
    if not starts:
        return (), False
    found = await lineage_store.walk(
        connection, [s.id for s in starts], "downstream", limit=MAX_EDGES, visible=visible
    )
    ids = {edge.target for edge in found.edges} - {s.id for s in starts}
    versions: dict[tuple[str, str], int] = {}
    for node in (await lineage_store.nodes_of(connection, ids)).values():
        if not node.column:
            versions[node.kind, node.name] = versions.get((node.kind, node.name), 0) + 1
    users = (
        catalog.CatalogUser(kind=kind, name=user, versions=n) for (kind, user), n in sorted(versions.items())
    )
    return tuple(users), found.is_cut


def _view(row: sa.Row[Any], now: datetime, forms: Mapping[str, masking.Form]) -> catalog.CatalogView:
    entry = showing.entry(catalog.CatalogEntry.model_validate(row.entry), forms)
    view = catalog.CatalogView.model_validate(
        {**entry.model_dump(), "project": row.project, "updated_at": row.updated_at}
    )
    if view.newest_event_at is None:
        return view
    age = (now - view.newest_event_at).total_seconds()
    fresh = None if view.ttl_seconds is None else age <= view.ttl_seconds
    return view.model_copy(update={"age_seconds": age, "is_fresh": fresh})


def _cursor(after: str) -> tuple[str, str]:
    if not after:
        return "", ""
    try:
        project, name = json.loads(after)
        return str(project), str(name)
    except (ValueError, TypeError) as error:
        raise errors.InvalidRequest(
            f"cursor `{after}` is not one of ours; send the `next` of a page", field="after"
        ) from error
