"""Templates of projects: what each asks, and what it would make."""

from __future__ import annotations

from typing import Any

from mainspring.core.contracts.base import Digest, Message, Request, Slug

__all__ = ["PlannedFile", "ProjectAsked", "ProjectPlan", "Registration", "TemplateView"]


class TemplateView(Message):
    """One template, as a person chooses it."""

    name: Slug
    title: str
    description: str
    measured: str
    """What it reaches, and what it has to beat."""
    data_name: str
    data_licence: str
    is_offline: bool
    """Whether its data comes with the training packages."""
    inputs: dict[str, Any]
    """JSON Schema of what is asked: command line, form and files are made of this one."""


class ProjectAsked(Request):
    """Answers to a template's questions."""

    inputs: dict[str, Any]
    """By name, as the template's schema has them. What is left out has its default."""


class PlannedFile(Message):
    """A file that would be made."""

    path: str
    """In the project's folder."""
    bytes: int
    text: str


class Registration(Message):
    """Something that the project's next commands put on record."""

    what: str
    name: str
    by: str
    """The command."""


class ProjectPlan(Message):
    """A project that is not there yet: everything that would be, and nothing is kept of it."""

    template: Slug
    name: Slug
    inputs: dict[str, Any]
    """Every answer, with defaults."""
    files: tuple[PlannedFile, ...]
    registers: tuple[Registration, ...] = ()
    next: tuple[str, ...] = ()
    """The commands to go on with, in their order."""
    archive: str
    """The same files as a zip file in base64; the same answers give the same bytes."""
    digest: Digest
    """Of the zip file."""
