"""Who sees what of a project's columns, as the policies say it, in a form that serving follows; and sealed values opened, on record."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import canonical, errors, identity, policy
from mainspring.core.contracts import catalog, masking
from mainspring.core.features import schema
from mainspring.core.monitoring import tokens
from mainspring.core.protection import keysets, reading, showing
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.catalog import store as catalog_store
from mainspring.platform.policies import questions
from mainspring.platform.projects import store as project_store
from mainspring.platform.protection import purposes_store, reading_service, store

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
        bound = await purposes_store.bound(reader.connection, project)
    fields = [
        masking.MaskedField(
            view=name.removeprefix("view."),
            field=column["name"],
            classification=_class(column),
            kind=kinds.get((name, column["name"]), ""),
            purposes=sorted(bound[name].purposes) if name in bound else None,
        )
        for (kind, name), entry in sorted(entries.items())
        if kind == "view"
        for column in entry["columns"]
        if _class(column) in masking.CLASSES and not column["is_key"]
    ]
    rules = [
        masking.MaskRule(classification=cls, role=role, purpose=purpose, form=form)
        for cls, role, purpose in itertools.product(masking.CLASSES, ROLES, ("", *purposes))
        if (form := _form(plane, _role(role), project, cls, purpose, is_synthetic_only)) != "full"
    ]
    return masking.MaskingSection(project=project, fields=fields, rules=rules)


def _class(column: dict[str, Any]) -> catalog.Classification:
    """What is of a person is confidential at least, whatever was said."""
    said: catalog.Classification = column["classification"]
    return "confidential" if column["is_pii"] and said not in masking.CLASSES else said


async def shown_to(
    plane: control_plane.ControlPlane, reader: reads.Reader, project: str, environment: str = ""
) -> showing.Shown:
    """How somebody who reads sees the project's columns in reports and evaluations: by the same question (`data.see`) that reads of
    features are answered by, without a purpose."""
    forms = forms_for(plane, reader, project, environment)
    return await _shown(plane, reader.connection, project, forms)


async def on_record(
    plane: control_plane.ControlPlane, connection: AsyncConnection, project: str
) -> showing.Shown:
    """How values are put on record, and told to receivers, whoever reads that: as tokens."""
    return await _shown(plane, connection, project, dict.fromkeys(masking.CLASSES, "hash"))


def forms_for(
    plane: control_plane.ControlPlane, reader: reads.Reader, project: str, environment: str = ""
) -> dict[str, masking.Form]:
    """By class, how somebody who reads sees it; the classes that are for everybody are not there."""
    asked = access.to_read(reader.who, "data.see", project).principal
    is_synthetic_only = reading_service.is_synthetic_only(plane, environment)
    return {cls: _form(plane, asked, project, cls, "", is_synthetic_only) for cls in masking.CLASSES}


async def _shown(
    plane: control_plane.ControlPlane,
    connection: AsyncConnection,
    project: str,
    forms: Mapping[str, masking.Form],
) -> showing.Shown:
    classes = await _classes(connection, project)
    found = {name: (forms[cls], kind) for name, (cls, kind) in classes.items() if forms[cls] != "clear"}
    tokeniser = await asyncio.to_thread(tokens.Tokeniser.load, plane.serving.token_key)
    return showing.Shown(found, tokeniser)


async def _classes(
    connection: AsyncConnection, project: str
) -> dict[str, tuple[catalog.Classification, str]]:
    """Class and kind of columns that are not for everybody, by every name that reports know: a column's own, whatever entry it is
    of, and a view's as it is joined. Of several the strictest counts."""
    entries = {name: entry for (_, name), entry in (await catalog_store.entries(connection, project)).items()}
    kinds = await store.kinds(connection, project)
    said = [(n, c["name"], _class(c)) for n, entry in entries.items() for c in entry["columns"]]
    known = await reading_service.known(connection, project)
    said += [(n, column, cls) for n, columns in known.items() for column, cls in columns.items()]
    found: dict[str, tuple[catalog.Classification, str]] = {}
    for entry, column, cls in said:
        if cls not in masking.CLASSES:
            continue
        for name in (column, schema.joined_name(entry.removeprefix("view."), column)):
            was, kind = found.get(name, ("", ""))
            found[name] = reading.strictest(was, cls), kind or kinds.get((entry, column), "")
    return found


def _role(role: str) -> questions.Principal:
    return questions.Principal("", frozenset({role}), frozenset())


def _form(
    plane: control_plane.ControlPlane,
    who: questions.Principal,
    project: str,
    cls: catalog.Classification,
    purpose: str,
    is_synthetic_only: bool,
) -> masking.Form:
    """The most that the policies allow."""
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
