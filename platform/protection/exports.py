"""What leaves the platform in bulk: asked of the policies with what may be in it, where it goes and why."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity
from mainspring.core.contracts import control, data_exports, data_reads, masking
from mainspring.core.lineage import jobs
from mainspring.core.protection import exporting, reading
from mainspring.core.protection import purposes as bounds
from mainspring.platform import access, mutation
from mainspring.platform import plane as control_plane
from mainspring.platform.lineage import telling
from mainspring.platform.policies import questions
from mainspring.platform.projects import store as project_store
from mainspring.platform.protection import purposes_service, purposes_store, reading_service

#: Lineage takes no longer names.
_LONGEST: Final = 1000
#: Of columns, so many are told in an answer and on record.
_TOLD: Final = 50


async def asked(
    plane: control_plane.ControlPlane, connection: AsyncConnection, request: control.RunCreate
) -> tuple[access.Target, ...]:
    """What else the policies are asked about a run that writes rows outside of its project's own places; nothing for any other.

    Which columns its input has is known when it is read. Until then it has the strictest of the project's.
    Errors: InvalidRequest for an output that is no place, or has a secret in its name.
    """
    if request.score is None:
        return ()
    exporting.check(request.score.input, field="input")
    exporting.check(request.score.output)
    if _is_inside(plane, request.project, request.score.output):
        return ()
    of = await _of_project(connection, request.project)
    score = request.score
    # What its own input may be used for is asked when it is read; here, of what the project's plans read.
    bound = await purposes_store.of_run(connection, request.project)
    return (
        _target(
            request.project, request.environment, "scores", score.output, score.purpose, of, False, bound
        ),
    )


async def leave(
    plane: control_plane.ControlPlane, credential: str, project: str, wanted: data_exports.DataExport
) -> data_exports.DataExportView:
    """It may leave, and that is on record with where to, what for, what it is and what is in it.

    Errors: InvalidRequest for a destination that is none; NotFound for the project; PolicyDenied with the columns; PermissionDenied.
    """
    exporting.check(wanted.destination, field="destination")
    is_inside = _is_inside(plane, project, wanted.destination)

    async def look(connection: AsyncConnection) -> tuple[reading.Found, bounds.Bound | None]:
        await project_store.find(connection, project)
        if not wanted.datasets:
            of_project = await _of_project(connection, project)
            return of_project, await purposes_store.of_run(connection, project)
        known = await reading_service.known(connection, project)
        # Under a name that no entry has a table is told by its columns: a new name makes nothing public.
        tables = [d.model_copy(update={"is_uncatalogued": d.name not in known}) for d in wanted.datasets]
        read = data_reads.DataRead(environment=wanted.environment, datasets=tables)
        bound = bounds.of_tables(tables, await purposes_store.bound(connection, project), known)
        return reading.found(read, known), bound

    async def on(connection: AsyncConnection) -> access.Target:
        found, bound = await look(connection)
        to = wanted.destination
        return _target(project, wanted.environment, wanted.exit, to, wanted.purpose, found, is_inside, bound)

    async def do(
        connection: AsyncConnection, actor: identity.Actor
    ) -> mutation.Change[data_exports.DataExportView]:
        found, _bound = await look(connection)
        view = data_exports.DataExportView(
            project=project,
            environment=wanted.environment,
            exit=wanted.exit,
            destination=wanted.destination,
            is_inside=is_inside,
            form=found.form,
            classification=_class_of(found),
            columns=found.columns[:_TOLD],
            digest=wanted.digest,
            rows=wanted.rows,
        )
        detail = {**view.model_dump(mode="json", exclude={"project"}), "purpose": wanted.purpose}
        reads = [jobs.Dataset(d.name, d.version, "", dict.fromkeys(d.columns, "")) for d in wanted.datasets]
        copy = jobs.Dataset(wanted.destination[:_LONGEST], wanted.digest, "export", owner=actor.name)
        told = telling.Told(project, [copy], reads)
        return mutation.Change(view, f"data-export/{project}", detail, lineage=told)

    try:
        return await mutation.mutate(
            plane, credential, action="data.export", resource=f"data-export/{project}", on=on, do=do
        )
    except errors.PolicyDenied as denial:
        async with plane.database.read() as connection:
            found, bound = await look(connection)
        if denial.rule_id == purposes_service.BOUND:
            raise purposes_service.told(denial, bound, wanted.purpose) from None
        names = ", ".join(f"`{name}`" for name in found.columns[:3])
        more = f" and {len(found.columns) - 3} more" if len(found.columns) > 3 else ""
        if not names:
            raise
        raise dataclasses.replace(denial, message=f"{denial.message} ({names}{more})") from None


def _is_inside(plane: control_plane.ControlPlane, project: str, place: str) -> bool:
    """Links are followed where the control API is on the workers' machine; a worker follows them again."""
    places = exporting.own(plane.control.export_places, plane.state_dir, project)
    if plane.state_dir is None:
        return exporting.is_inside(place, places)
    followed = [exporting.followed(one) for one in places]
    return exporting.is_inside(exporting.followed(place), followed) and ".." not in Path(place).parts


async def _of_project(connection: AsyncConnection, project: str) -> reading.Found:
    """What may be in something of which nobody knows the columns: any of the project's."""
    known = await reading_service.known(connection, project)
    found = {
        f"{entry}.{column}": cls
        for entry, columns in sorted(known.items())
        for column, cls in sorted(columns.items())
        if cls in masking.CLASSES
    }
    return reading.Found("clear" if found else "open", reading.strictest(*found.values()), tuple(found))


def _class_of(found: reading.Found) -> str:
    """What is sealed or of nobody is for everybody, wherever it goes."""
    return found.classification if found.form == "clear" else ""


def _target(
    project: str,
    environment: str,
    door: str,
    destination: str,
    purpose: str,
    found: reading.Found,
    is_inside: bool,
    bound: bounds.Bound | None,
) -> access.Target:
    target = access.project(
        project,
        environment,
        environment=environment[: questions.MAX_CHARACTERS],
        exit=door,
        classification=_class_of(found),
        columns=", ".join(found.columns)[: questions.MAX_CHARACTERS],
        destination=destination[: questions.MAX_CHARACTERS],
        purpose=purpose.strip()[: questions.MAX_CHARACTERS],
        is_inside=is_inside,
        **({} if is_inside else purposes_service.asked(bound, purpose)),
    )
    return access.by(target, action="data.export")
