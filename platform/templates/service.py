"""Show templates, and what each would make of somebody's answers. Nothing is kept: whoever asks makes the project by other means."""

from __future__ import annotations

import asyncio
import base64

from mainspring.core import canonical
from mainspring.core.contracts import control, templates
from mainspring.platform import plane as control_plane
from mainspring.platform import reads
from mainspring.platform.templates import engine, schema

#: What a template asks for itself; the rest of a plan's values is made of it.
_ASKED_OF_ALL = ("name", "owner", "description")


async def read(plane: control_plane.ControlPlane, credential: str, *, after: str, limit: int) -> control.Page:
    """A page of templates by name. They are of the release, and nobody's in particular. Errors: Unauthenticated."""
    async with reads.reading(plane, credential, action="project.read"):
        names = [name for name in engine.names() if name > after]
    found = await asyncio.to_thread(lambda: [_view(engine.find(name)) for name in names[:limit]])
    return control.Page(
        items=[one.model_dump(mode="json") for one in found],
        next=names[limit - 1] if len(names) > limit else "",
    )


async def show(plane: control_plane.ControlPlane, credential: str, name: str) -> templates.TemplateView:
    """Errors: Unauthenticated; NotFound with close names."""
    async with reads.reading(plane, credential, action="project.read"):
        return _view(await asyncio.to_thread(engine.find, name))


async def plan(
    plane: control_plane.ControlPlane, credential: str, name: str, asked: templates.ProjectAsked
) -> templates.ProjectPlan:
    """What would be made. Errors: Unauthenticated; NotFound; InvalidRequest naming the first answer that is wrong."""
    async with reads.reading(plane, credential, action="project.read"):
        return await asyncio.to_thread(lambda: _planned(engine.find(name), asked))


def _planned(template: schema.Template, asked: templates.ProjectAsked) -> templates.ProjectPlan:
    made = engine.plan(template, asked.inputs)
    packed = engine.archive(made)
    return templates.ProjectPlan(
        template=template.name,
        name=str(made.values["name"]),
        inputs={field: made.values[field] for field in (*_ASKED_OF_ALL, *template.parameters)},
        files=tuple(
            templates.PlannedFile(path=path, bytes=len(text.encode()), text=text)
            for path, text in sorted(made.files.items())
        ),
        registers=tuple(templates.Registration(**one.model_dump()) for one in made.registers),
        next=made.next,
        archive=base64.b64encode(packed).decode(),
        digest=canonical.digest_bytes(packed),
    )


def _view(template: schema.Template) -> templates.TemplateView:
    return templates.TemplateView(
        name=template.name,
        title=template.title,
        description=template.description,
        measured=template.measured,
        data_name=template.data.name,
        data_licence=template.data.licence,
        is_offline=template.data.offline,
        inputs=template.inputs().model_json_schema(),
    )
