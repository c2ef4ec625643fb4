"""What a template is: `template.toml`, read strictly. One schema of its inputs drives the command line, wizards and the files."""

from __future__ import annotations

import dataclasses
import keyword
import sys
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from mainspring.core import errors, ids

__all__ = ["Data", "Parameter", "Registered", "Template"]

_Text = Annotated[str, Field(min_length=1, max_length=2000)]
#: What an owner may be written with: an address, a team, a person's name.
_OWNER: Final = r"^[\w][\w .,@+'-]{0,98}[\w]$"
_PYTHON: Final[dict[str, type]] = {"string": str, "integer": int, "number": float, "boolean": bool}


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Parameter(_Model):
    """One question of a template beyond name and owner."""

    type: Literal["string", "integer", "number", "boolean"]
    description: _Text
    default: str | int | float | bool
    choices: tuple[str, ...] = ()
    pattern: str = ""
    minimum: float | None = None
    maximum: float | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if type(self.default) is not _PYTHON[self.type]:
            raise ValueError(f"default {self.default!r} is no {self.type}")
        if self.choices and (self.type != "string" or self.default not in self.choices):
            raise ValueError("choices are of strings, and the default is one of them")
        return self

    @property
    def field(self) -> tuple[Any, Any]:
        """As `create_model` takes it."""
        limits: dict[str, Any] = {
            "description": self.description,
            "pattern": self.pattern or None,
            "ge": self.minimum,
            "le": self.maximum,
        }
        kind: Any = Literal[self.choices] if self.choices else _PYTHON[self.type]
        return kind, Field(self.default, **{k: v for k, v in limits.items() if v is not None})


class Data(_Model):
    """Where a template's data is from."""

    name: _Text
    licence: _Text
    fetch: _Text
    """The command that brings it."""
    offline: bool
    """Whether it comes with `mainspring[training]`."""


class Registered(_Model):
    """Something that the project's next commands put on record."""

    what: _Text
    name: _Text
    by: _Text


class Template(_Model):
    """A template. Texts may have placeholders, which `engine` fills in."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z-]*$")]
    title: _Text
    description: _Text
    measured: _Text
    """What it reaches, and what it has to beat."""
    data: Data
    quick_fraction: Annotated[float, Field(gt=0, le=1)]
    """Of the data, for a look of seconds."""
    parameters: dict[Annotated[str, Field(pattern=r"^[a-z][a-z_]*$")], Parameter] = {}
    files: Annotated[dict[str, str], Field(min_length=1)]
    """By path in the project, the file here that it is made of."""
    registers: tuple[Registered, ...] = ()
    next: tuple[str, ...] = ()
    """The commands to go on with, in their order."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if taken := {"name", "owner", "description"} & set(self.parameters):
            raise ValueError(f"every project has {sorted(taken)}; call the parameter otherwise")
        return self

    def inputs(self) -> type[BaseModel]:
        """The model of what is asked; its JSON Schema is what a wizard's form is made of."""
        fields: dict[str, Any] = {
            "name": (
                str,
                Field(
                    pattern=ids.SLUG,
                    max_length=63,
                    description="The project's name: lowercase letters, digits and hyphens.",
                ),
            ),
            "owner": (str, Field(pattern=_OWNER, description="Who answers for it: a person or a team.")),
            "description": (
                str,
                Field(self.title, max_length=200, description="What it is for, in a sentence."),
            ),
            **{name: parameter.field for name, parameter in self.parameters.items()},
        }
        return create_model(
            f"{self.name.title().replace('-', '')}Project", __config__=ConfigDict(extra="forbid"), **fields
        )

    def checked(self, given: dict[str, Any]) -> dict[str, Any]:
        """Every input with its default. Errors: InvalidRequest naming the first that is wrong."""
        if not str(given.get("owner", "")).strip():
            raise errors.InvalidRequest(
                "a project has an owner who answers for it; say who with `--owner`", field="owner"
            )
        try:
            name = ids.check_slug(str(given.get("name", "")), "project")
        except errors.InvalidRequest as error:
            raise dataclasses.replace(error, field="name") from None  # as it is called here
        package = name.replace("-", "_")
        if keyword.iskeyword(package) or package in {*sys.stdlib_module_names, "mainspring", "test", "tests"}:
            raise errors.InvalidRequest(
                f"`{name}` would make a package `{package}`, whose name Python has already; choose another",
                field="name",
            )
        try:
            found = self.inputs().model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            known = ", ".join(f"`{p}`" for p in self.parameters) or "none"
            raise errors.InvalidRequest(
                f"`{field}`: {first['msg']}; template `{self.name}` has the parameters {known}, see `mainspring new --schema"
                f" --template {self.name}`",
                field=field,
            ) from error
        return {**found.model_dump(), "package": package, **self._about()}

    def _about(self) -> dict[str, Any]:
        """What files may say of the template itself."""
        return {
            "template": self.name,
            "title": self.title,
            "measured": self.measured,
            "quick_fraction": self.quick_fraction,
            "data_name": self.data.name,
            "data_licence": self.data.licence,
            "data_fetch": self.data.fetch,
        }
