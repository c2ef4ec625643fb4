"""`mainspring.yaml`: what a repository wants of one project. The only file that imports yaml."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import AfterValidator, Field, ValidationError

from mainspring.core import errors
from mainspring.core.contracts import members as member_contracts
from mainspring.core.contracts import schedules as processes
from mainspring.core.contracts.base import Digest, Request, Slug
from mainspring.core.contracts.tags import Tags

__all__ = [
    "FILE",
    "Document",
    "WantedDeployment",
    "WantedPipeline",
    "WantedProject",
    "WantedSchedule",
    "read",
]

FILE: Final = "mainspring.yaml"
_MAX_BYTES: Final = 256 * 1024


def _inside(value: str) -> str:
    parts = PurePosixPath(value).parts
    if not value.endswith(".py") or value.startswith("/") or ".." in parts:
        raise ValueError(f"`{value}` is no Python file of the repository; write `folder/pipeline.py`")
    return value


def _once(value: tuple[WantedDeployment, ...]) -> tuple[WantedDeployment, ...]:
    names = [one.endpoint for one in value]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"endpoint `{twice[0]}` is there twice; one bundle is in service")
    return value


class WantedSchedule(Request):
    """As `mainspring schedule put` has it."""

    every_minutes: Annotated[float, Field(gt=0, le=527_040)]
    is_paused: bool = False
    request: dict[str, Any] = {}


class WantedPipeline(Request):
    """A pipeline that has run, as the repository has it, once in an environment."""

    file: Annotated[str, AfterValidator(_inside)]
    pipeline: str = ""
    """Which, where the file has several."""
    environment: str = "dev"
    parameters: dict[str, Any] = {}


class WantedProject(Request):
    """As `mainspring project update`; what is left out stays as it is."""

    owner: Annotated[str, Field(min_length=1, max_length=200)] = ""
    """A project that is not there yet needs one."""
    description: Annotated[str, Field(max_length=2000)] = ""
    monthly_budget: Annotated[float, Field(gt=0)] | None = None
    """Null, if it is written: no limit."""
    tags: Tags | None = None
    """All of them; one that is not named is taken away."""


class WantedDeployment(Request):
    """As `mainspring endpoint promote`: a bundle that is in service, brought there by steps that are judged."""

    endpoint: Slug
    bundle: Digest
    environment: Literal["dev", "staging", "prod"] = "dev"


class Document(Request):
    """All of it. What it does not name is left as it is, and told of."""

    version: Literal[1]
    project: Slug
    about: WantedProject | None = None
    members: dict[Annotated[str, Field(min_length=1, max_length=200)], member_contracts.Roles] | None = None
    """Roles by actor, and by environment or `*`. None: members are nobody's here."""
    deployments: Annotated[tuple[WantedDeployment, ...], AfterValidator(_once)] = ()
    schedules: dict[processes.Process, WantedSchedule] = {}
    pipelines: tuple[WantedPipeline, ...] = ()
    prune: bool = False
    """Remove schedules that are not named here, and members where `members` is written."""


def read(folder: Path) -> Document:
    """Errors: NotFound; InvalidRequest for what is no YAML, or has a field that there is not."""
    path = folder / FILE
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise errors.NotFound(
            f"no `{FILE}` in `{folder}`; write one, as docs/gitops.md says", resource="file", name=FILE
        ) from error
    if len(text) > _MAX_BYTES:
        raise errors.InvalidRequest(
            f"`{FILE}` has {len(text)} bytes, allowed are {_MAX_BYTES}; split it", field=FILE
        )
    try:
        found = Document.model_validate(yaml.load(text, _Strict))
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise errors.InvalidRequest(f"`{FILE}` is no YAML: {said}; correct it", field=FILE) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        said = first["msg"].removeprefix("Value error, ")
        raise errors.InvalidRequest(f"`{FILE}`: `{field}`: {said}; correct it", field=field) from error
    for actor, roles in (found.members or {}).items():
        try:
            member_contracts.MemberPut(roles=roles)
        except ValidationError as error:
            said = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise errors.InvalidRequest(
                f"`{FILE}`: `members.{actor}`: {said}; correct it", field="members"
            ) from error
    for process, one in found.schedules.items():
        processes.request_of(process, found.project, one.request)
    return found


class _Strict(yaml.SafeLoader):  # type: ignore[misc]
    """Plain values only; no key twice, of which the second would silently win; no aliases, which make a small file huge."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(
                None, None, "aliases (`*name`) are not taken; write it out", mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"`{key}` is there twice", node.start_mark
                )
        return dict(super().construct_mapping(node, deep))
