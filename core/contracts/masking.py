"""What serving shows of columns that are not for everybody: by class, role and purpose, decided by policies, in one document."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from mainspring.core.contracts.base import Message, Request, Slug
from mainspring.core.contracts.catalog import Classification

__all__ = [
    "CLASSES", "FORMS", "KEY_ROLE", "Form", "MaskRule", "MaskedField", "MaskingDocument", "MaskingSection", "OpenRequest",
    "Opened",
]  # fmt: skip

#: How a value may be seen, the most first: as it is; the part that a person knows it by; a token that is equal for equal
#: values of its column; not at all.
Form: TypeAlias = Literal["clear", "partial", "hash", "full"]
FORMS: Final[tuple[Form, ...]] = ("clear", "partial", "hash", "full")

#: What is masked at all: the rest is for whoever may read.
CLASSES: Final[tuple[Classification, ...]] = ("confidential", "restricted")

#: What a caller with an API key is, which has no role of a person: a part of the organisation's software.
KEY_ROLE: Final = "key"

Purpose: TypeAlias = Annotated[str, Field(pattern=r"^(|\*|[a-z][a-z0-9-]{0,39})$")]
#: One that a caller can say.
PurposeWord: TypeAlias = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
_Name = Annotated[str, Field(min_length=1, max_length=1000)]


class MaskedField(Request):
    """A field of a view that is not for everybody."""

    view: _Name
    field: _Name
    classification: Classification
    kind: str = ""
    """What it tells of persons, where that is known: which part of it is shown as `partial`."""
    purposes: list[PurposeWord] | None = None
    """What its view may be used for: to who says another purpose, or none, it is not shown at all. None: nobody has said it."""


class MaskRule(Request):
    """Who has that role, and asks for that purpose, sees values of that class so. What no rule is for is not seen."""

    classification: Classification
    role: Annotated[str, Field(min_length=1, max_length=40)]
    purpose: Purpose = ""
    """As the caller says it; "": none was said; `*`: any, or none."""
    form: Form


class MaskingSection(Request):
    """One project's part."""

    project: Slug
    fields: Annotated[list[MaskedField], Field(max_length=10_000)] = []
    rules: Annotated[list[MaskRule], Field(max_length=10_000)] = []


class MaskingDocument(Request):
    """What is in force in one serving process's host. A field that two projects name is shown as the stricter one says."""

    version: Annotated[int, Field(ge=0)]
    sections: Annotated[list[MaskingSection], Field(max_length=1000)] = []
    set_by: str = ""

    @model_validator(mode="after")
    def _once(self) -> Self:
        projects = [section.project for section in self.sections]
        if len(set(projects)) < len(projects):
            raise ValueError("a project is there twice; send one section for each")
        return self

    def with_section(self, section: MaskingSection, *, by: str = "") -> MaskingDocument:
        """The next version, in which the project's section is this one."""
        others = [s for s in self.sections if s.project != section.project]
        return MaskingDocument(version=self.version + 1, sections=[*others, section], set_by=by)


class OpenRequest(Request):
    """Sealed values that somebody wants to see."""

    dataset: _Name
    column: _Name
    mode: Literal["joinable", "random"] = "joinable"
    domain: Annotated[str, Field(max_length=200)] = ""
    values: Annotated[list[Annotated[str, Field(max_length=20_000)]], Field(min_length=1, max_length=1000)]
    purpose: PurposeWord
    """What for, in a word that policies know."""
    reason: Annotated[str, Field(min_length=1, max_length=2000)]


class Opened(Message):
    """The values in the order asked."""

    values: tuple[str, ...]
