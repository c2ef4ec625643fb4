"""Who sees what of a project's columns, as the policies say it, in a form that serving follows; and sealed values opened, on record."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import canonical, errors, identity, policy
from mainspring.core.contracts import catalog, masking
from mainspring.core.protection import keysets
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.catalog import store as catalog_store
from mainspring.platform.policies import questions
from mainspring.platform.projects import store as project_store
from mainspring.platform.protection import reading_service, store

#: Whom serving tells apart. A role that a token has and that is not here sees nothing that is masked.
ROLES: Final = (*identity.ROLES, masking.KEY_ROLE)
_PURPOSE: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")


async def section(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    purposes: Sequence[str],
    environment: str = "",
) -> masking.MaskingSection:
    """The project's views with what is not for everybody, and how each role sees each class for each purpose.

    `environment` is the one whose serving is to follow it: in one of `control.synthetic_only` nothing classified is seen as it is.

    Policies are asked (`data.see`) about every combination; one that they do not allow in any form is hidden, and is left
    out. Callers are told apart by role alone there: a policy about a person's name says nothing here.
    Errors: NotFound for the project; InvalidRequest for a purpose that no caller can say, such as `*`, which would be all, and
    for an environment that there is not.
    """
    if environment and environment not in policy.ENVIRONMENTS:
        raise errors.InvalidRequest(
            f"the environment `{environment[:80]}` is unknown; use one of `{'`, `'.join(policy.ENVIRONMENTS)}`",
            field="environment",
        )
    is_synthetic_only = reading_service.is_synthetic_only(plane, environment)
    for purpose in purposes:
        if not _PURPOSE.fullmatch(purpose):
            raise errors.InvalidRequest(
                f"`{purpose[:80]}` is no purpose; write a word of lowercase letters, digits and hyphens",
                field="purpose",
            )
    async with reads.reading(plane, credential, action="masking.read") as reader:
        await reader.project(project)
        entries = await catalog_store.entries(reader.connection, project)
        kinds = await store.kinds(reader.connection, project)
    fields = [
        masking.MaskedField(
            view=name.removeprefix("view."),
            field=column["name"],
            classification=_class(column),
            kind=kinds.get((name, column["name"]), ""),
        )
        for (kind, name), entry in sorted(entries.items())
        if kind == "view"
        for column in entry["columns"]
        if _class(column) in masking.CLASSES and not column["is_key"]
    ]
    rules = [
        masking.MaskRule(classification=cls, role=role, purpose=purpose, form=form)
        for cls, role, purpose in itertools.product(masking.CLASSES, ROLES, ("", *purposes))
        if (form := _form(plane, project, cls, role, purpose, is_synthetic_only)) != "full"
    ]
    return masking.MaskingSection(project=project, fields=fields, rules=rules)


def _class(column: dict[str, Any]) -> catalog.Classification:
    """What is of a person is confidential at least, whatever was said."""
    said: catalog.Classification = column["classification"]
    return "confidential" if column["is_pii"] and said not in masking.CLASSES else said


def _form(
    plane: control_plane.ControlPlane,
    project: str,
    cls: catalog.Classification,
    role: str,
    purpose: str,
    is_synthetic_only: bool,
) -> masking.Form:
    """The most that the policies allow."""
    who = questions.Principal("", frozenset({role}), frozenset())
    for form in masking.FORMS[:-1]:
        context: dict[str, str | bool] = {"classification": cls, "purpose": purpose, "form": form}
        context["is_synthetic_only"] = is_synthetic_only
        asked = questions.Question(who, "data.see", questions.project(project), context)
        if plane.policies.decide(asked).allowed:
            return form
    return "full"


async def open_sealed(
    plane: control_plane.ControlPlane, credential: str, project: str, asked: masking.OpenRequest
) -> masking.Opened:
    """Sealed values as they were, for somebody whom policies let see the column's class for that purpose.

    Who asked, what for, and the digests of what was opened are on record before a value is. All values or none.
    Errors: NotFound for the project; PermissionDenied, PolicyDenied; CorruptArtifact, Misconfigured.
    """
    resource = f"sealed/{project}/{asked.dataset}.{asked.column}"

    async def on(connection: AsyncConnection) -> access.Target:
        await project_store.find(connection, project)
        row = await catalog_store.find(connection, project, asked.dataset)
        columns = {c["name"]: c for c in row.entry["columns"]} if row is not None else {}
        # What nobody classified was sealed for a reason: it is taken for the strictest. So is what a domain has in common:
        # its values open under the name of any column, of the mildest, too.
        known = None if asked.domain else columns.get(asked.column)
        cls = _class(known) if known is not None and _class(known) else "restricted"
        return access.project(project, classification=cls, purpose=asked.purpose)

    async def work(_: identity.Actor) -> tuple[masking.Opened, dict[str, Any]]:
        opened = await asyncio.to_thread(_opened, plane, project, asked)
        return opened, {"values": len(opened.values)}

    return await mutation.around(
        plane,
        credential,
        action="sealed.open",
        resource=resource,
        on=on,
        detail={
            "purpose": asked.purpose,
            "reason": asked.reason,
            "values": len(asked.values),
            "digest": canonical.digest(sorted(asked.values)),
        },
        work=work,
    )


def _opened(plane: control_plane.ControlPlane, project: str, asked: masking.OpenRequest) -> masking.Opened:
    import polars as pl  # the control API starts without it

    from mainspring.core.protection import sealing

    if plane.protection is None:
        raise errors.NotFound(
            "this control API has no keys; ask the one beside the workers", resource="keyset", name=project
        )
    cipher = keysets.keyset(plane.protection, project).cipher()
    field = sealing.Field(asked.dataset, asked.column, asked.mode, asked.domain)
    return masking.Opened(values=tuple(cipher.open_text(pl.Series(asked.values), field)))
