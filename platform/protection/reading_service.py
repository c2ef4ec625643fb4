"""May tables of a project be read in an environment: asked of the policies, and put on record, before anything is made of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import canonical, errors, identity
from mainspring.core.contracts import catalog, data_reads, protection
from mainspring.core.protection import purposes as bounds
from mainspring.core.protection import reading
from mainspring.platform import access, mutation
from mainspring.platform import plane as control_plane
from mainspring.platform.audit import store as audit_store
from mainspring.platform.catalog import store as catalog_store
from mainspring.platform.policies import questions
from mainspring.platform.projects import store as project_store
from mainspring.platform.protection import purposes_service, purposes_store, store
from mainspring.platform.runs import store as run_store

#: Of tables' columns, so many are told in an answer and on record.
_TOLD: Final = 50


async def read(
    plane: control_plane.ControlPlane, credential: str, project: str, asked: data_reads.DataRead
) -> data_reads.DataReadView:
    """It may be read, and that is on record with what it was; the same of one run again changes nothing.

    Errors: NotFound for the project; PolicyDenied where the environment reads no classified column as it is, with the columns;
    PermissionDenied.
    """
    digest = canonical.digest(asked.model_dump(mode="json"))
    event_key = f"{asked.run_id}/data-read/{digest[:23]}" if asked.run_id else None

    async def look(connection: AsyncConnection) -> _Looked:
        await project_store.find(connection, project)
        classes = await known(connection, project)
        bound = bounds.of_tables(asked.datasets, await purposes_store.bound(connection, project), classes)
        return _Looked(reading.found(asked, classes), bound, await _purpose(connection, project, asked))

    async def on(connection: AsyncConnection) -> access.Target:
        looked = await look(connection)
        found = looked.found
        return access.project(
            project,
            asked.environment,
            environment=asked.environment,
            classification=found.classification,
            form=found.form,
            columns=", ".join(found.columns)[: questions.MAX_CHARACTERS],
            is_synthetic_only=is_synthetic_only(plane, asked.environment),
            purpose=looked.purpose,
            **purposes_service.asked(looked.bound, looked.purpose),
        )

    async def do(connection: AsyncConnection, _: identity.Actor) -> mutation.Change[data_reads.DataReadView]:
        looked = await look(connection)
        found = looked.found
        view = data_reads.DataReadView(
            project=project,
            environment=asked.environment,
            form=found.form,
            classification=found.classification,
            columns=found.columns[:_TOLD],
            purpose=looked.purpose,
        )
        known = await audit_store.is_recorded(connection, event_key) if event_key else None
        detail = {
            **view.model_dump(mode="json", exclude={"project"}),
            "run_id": asked.run_id,
            "datasets": [
                {"name": d.name, "version": d.version, "is_synthetic": d.is_synthetic}
                for d in asked.datasets[:_TOLD]
            ],
        }
        return mutation.Change(
            view, f"data-read/{project}", detail, is_new=known is None, event_key=event_key
        )

    try:
        return await mutation.mutate(
            plane,
            credential,
            action="data.use",
            resource=f"data-read/{project}",
            on=on,
            do=do,
        )
    except errors.PolicyDenied as denial:
        async with plane.database.read() as connection:
            looked = await look(connection)
        if denial.rule_id == purposes_service.BOUND:
            raise purposes_service.told(denial, looked.bound, looked.purpose) from None
        found = looked.found
        names = ", ".join(f"`{name}`" for name in found.columns[:3])
        more = f" and {len(found.columns) - 3} more" if len(found.columns) > 3 else ""
        raise dataclasses.replace(
            denial, message=f"{denial.message} ({names}{more} in `{asked.environment}`)"
        ) from None


@dataclass(frozen=True)
class _Looked:
    found: reading.Found
    bound: bounds.Bound | None
    purpose: str


async def _purpose(connection: AsyncConnection, project: str, asked: data_reads.DataRead) -> str:
    """A run's is its own: what reads for it says nothing else."""
    run = await run_store.look_up(connection, asked.run_id) if asked.run_id else None
    is_of_run = run is not None and run.project == project
    said = purposes_service.of_request(run.request) if run is not None and is_of_run else asked.purpose
    return await purposes_service.stated(connection, project, said)


def is_synthetic_only(plane: control_plane.ControlPlane, environment: str) -> bool:
    """Is it an environment where what is classified is of nobody, or sealed."""
    return environment in plane.control.synthetic_only.split(",") and bool(environment)


async def known(connection: AsyncConnection, project: str) -> reading.Known:
    """Classes by entry and column: what the catalog has, what people confirmed, and what waits for them and is sure enough."""
    found: dict[str, dict[str, catalog.Classification]] = {}
    for (kind, name), entry in (await catalog_store.entries(connection, project)).items():
        if kind in ("dataset", "view"):
            found[name] = reading.of_entry(catalog.CatalogEntry.model_validate(entry))
    said = [
        (entry, column, cls)
        for entry, columns in (await store.confirmed(connection, project)).items()
        for column, cls in columns.items()
    ]
    waiting = await store.waiting(connection, project)
    said += [(entry, column, protection.KINDS[kind]) for (entry, column), kind in waiting.items()]
    for name, column, cls in said:
        of_entry = found.setdefault(name, {})
        of_entry[column] = reading.strictest(of_entry.get(column, ""), cls)
    return found
