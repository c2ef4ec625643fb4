"""Keep what a detector found of persons, list it, and let a person decide about it."""

from __future__ import annotations

import difflib
import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity
from mainspring.core.catalog import rules
from mainspring.core.contracts import base, catalog, control, protection
from mainspring.core.contracts.protection import ClassificationState
from mainspring.core.lineage import jobs
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.catalog import store as catalog_store
from mainspring.platform.lineage import telling
from mainspring.platform.projects import store as project_store
from mainspring.platform.protection import store

_Row = sa.Row[Any]


async def find(
    plane: control_plane.ControlPlane, credential: str, project: str, found: protection.Findings
) -> protection.FindingsReceipt:
    """Keep findings of one entry, open for a person; the same again changes nothing. Roles: service, developer, admin.

    What a person confirmed stays. What a person rejected stays while the finding is of the same kind; another kind is
    another question, and is open. What is not found any more stays open: an empty sample clears nothing.
    Errors: NotFound for the project.
    """

    async def do(
        connection: AsyncConnection, by: identity.Actor
    ) -> mutation.Change[protection.FindingsReceipt]:
        await project_store.find(connection, project)
        before = await store.of_entry(connection, project, found.entry)
        fresh = [f for f in found.findings if _is_news(before.get(f.column), f)]
        if fresh:
            await store.put_open(connection, project, found.entry, fresh, by.name)
        after = await store.of_entry(connection, project, found.entry)
        waiting = sum(row.state == ClassificationState.OPEN for row in after.values())
        receipt = protection.FindingsReceipt(
            project=project, entry=found.entry, changed=len(fresh), waiting=waiting
        )
        detail = {
            "entry": found.entry,
            "found": [
                {
                    "column": f.column,
                    "kind": f.kind,
                    "confidence": f.confidence,
                    "reopened": f.column in before,
                }
                for f in fresh[:50]
            ],
            "columns": len(fresh),
        }
        return mutation.Change(receipt, f"classification/{project}/{found.entry}", detail, is_new=bool(fresh))

    return await mutation.mutate(
        plane,
        credential,
        action="classification.find",
        resource=f"classification/{project}/{found.entry}",
        on=access.project(project),
        do=do,
    )


def _is_news(known: _Row | None, found: protection.ColumnFinding) -> bool:
    if known is None:
        return True
    if known.state == ClassificationState.OPEN:
        # Never a less sure one, of whatever kind: it would talk away what waits for a person.
        return bool(found.confidence > known.confidence)
    return bool(known.state == ClassificationState.REJECTED and known.kind != found.kind)


async def decide(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    decision: protection.ClassificationDecision,
) -> protection.ClassificationView:
    """A person's word on a column. A confirmed one is personal in the catalog at once, and in every one put later.

    Roles: approver, admin. The same again changes nothing; another word takes the place of the first, on record.
    Errors: NotFound for a column that nothing was found in and that the catalog does not have.
    """

    async def do(connection: AsyncConnection, by: identity.Actor) -> mutation.Change[_Row]:
        row, is_known = await _row_for(connection, project, decision, by)
        state = ClassificationState.CONFIRMED if decision.confirm else ClassificationState.REJECTED
        values: dict[str, Any] = {"state": str(state), "decision_reason": decision.reason}
        if decision.confirm:
            values["kind"] = decision.kind or row.kind
            values["classification"] = decision.classification or row.classification
        if is_known and all(row._mapping[name] == value for name, value in values.items()):
            return mutation.Change(row, _resource(row), is_new=False)
        was = row.state
        await store.update(
            connection, row, **values, decided_at=base.utc_now().isoformat(), decided_by=by.name
        )
        if decision.confirm:
            await _mark(connection, project, decision.entry, decision.column, values["classification"])
        row = (await store.of_entry(connection, project, decision.entry))[decision.column]
        detail = {
            "column": row.column_name,
            "was": was,
            "state": row.state,
            "kind": row.kind,
            "classification": row.classification,
            "confidence": row.confidence,
            "words": decision.reason,
        }
        label = (
            {"classification": row.classification, "pii": "true"} if decision.confirm else {"pii": "false"}
        )
        said = jobs.Dataset(decision.entry, "", "", labels={decision.column: label})
        return mutation.Change(row, _resource(row), detail, lineage=telling.Told(project, [said]))

    row = await mutation.mutate(
        plane,
        credential,
        action="classification.decide",
        resource=f"classification/{project}/{decision.entry}",
        on=access.project(project, confirm=decision.confirm),
        do=do,
    )
    return store.view(row)


async def read(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    *,
    entry: str,
    state: ClassificationState | None,
    after: str,
    limit: int,
) -> control.Page:
    """A page of a project's findings by entry and column. Errors: NotFound for the project."""
    async with reads.reading(plane, credential, action="classification.read") as reader:
        await reader.project(project)
        rows = await store.page(
            reader.connection,
            project,
            entry=entry,
            states=() if state is None else (state,),
            after=_cursor(after),
            limit=limit + 1,
        )
    items = [store.view(row).model_dump(mode="json") for row in rows[:limit]]
    last = json.dumps([rows[limit - 1].entry, rows[limit - 1].column_name]) if len(rows) > limit else ""
    return control.Page(items=items, next=last)


async def _row_for(
    connection: AsyncConnection,
    project: str,
    decision: protection.ClassificationDecision,
    by: identity.Actor,
) -> tuple[_Row, bool]:
    """What was found of the column, and that it was; else a finding that this person makes, of a column of the catalog."""
    await project_store.find(connection, project)
    known = await store.of_entry(connection, project, decision.entry)
    if decision.column in known:
        return known[decision.column], True
    entry = await catalog_store.find(connection, project, decision.entry)
    columns = {c["name"] for c in entry.entry["columns"]} if entry is not None else set()
    if decision.column not in columns:
        close = tuple(difflib.get_close_matches(decision.column, columns | set(known), n=3))
        hint = f"did you mean `{close[0]}`" if close else f"see `mainspring data findings {project}`"
        raise errors.NotFound(
            f"`{decision.entry}` of project `{project}` has no column `{decision.column}` that anybody knows of; {hint}",
            resource="column",
            name=decision.column,
            did_you_mean=close,
        )
    if decision.confirm and decision.kind is None:
        raise errors.InvalidRequest(
            f"nothing was found in column `{decision.column}`; say its `kind`, one of {sorted(protection.KINDS)}",
            field="kind",
        )
    kind = decision.kind or "person_key"
    said = protection.ColumnFinding(
        column=decision.column,
        kind=kind,
        classification=protection.KINDS[kind],
        confidence=0.0,
        reasons=("a person said so",),
    )
    await store.put_open(connection, project, decision.entry, [said], by.name)
    return (await store.of_entry(connection, project, decision.entry))[decision.column], False


async def _mark(
    connection: AsyncConnection,
    project: str,
    name: str,
    column: str,
    classification: catalog.Classification,
) -> None:
    """In the catalog that is in force, the column is personal from now on."""
    row = await catalog_store.find(connection, project, name)
    if row is None:
        return
    entry = catalog.CatalogEntry.model_validate(row.entry)
    marked = rules.confirmed(entry, {column: classification})
    if marked != entry:
        await catalog_store.put(connection, project, [marked])


def _resource(row: _Row) -> str:
    return f"classification/{row.project}/{row.entry}"


def _cursor(after: str) -> tuple[str, str]:
    if not after:
        return "", ""
    try:
        entry, column = json.loads(after)
        return str(entry), str(column)
    except (ValueError, TypeError) as error:
        raise errors.InvalidRequest(
            f"cursor `{after}` is not one of ours; send the `next` of a page", field="after"
        ) from error
