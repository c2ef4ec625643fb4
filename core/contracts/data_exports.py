"""What is about to leave the platform's places, where to and what for."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from mainspring.core.contracts.base import Digest, Message, Request, Slug
from mainspring.core.contracts.catalog import Classification
from mainspring.core.contracts.data_reads import ReadDataset, ReadForm

__all__ = ["DataExport", "DataExportView", "Exit"]

#: By which door: a table that somebody copies out; what a model learned; rows of a stream's views.
Exit: TypeAlias = Literal["table", "bundle", "history"]


class DataExport(Request):
    """Asked before anything is written there; the answer is on record. It has no value of any row."""

    environment: Annotated[str, Field(min_length=1, max_length=40)]
    exit: Exit
    destination: Annotated[str, Field(min_length=2, max_length=2000)]
    """An absolute path, links followed, or `s3://bucket/key` without keys."""
    datasets: Annotated[list[ReadDataset], Field(max_length=1000)] = []
    """What leaves; empty: it may have any column of the project."""
    purpose: Annotated[str, Field(max_length=500)] = ""
    digest: Digest | Literal[""] = ""
    """Names the content that leaves; empty: it is not there yet."""
    rows: Annotated[int, Field(ge=0)] | None = None
    """None: nobody can know yet, or it has none."""


class DataExportView(Message):
    """It may leave."""

    project: Slug
    environment: str
    exit: Exit
    destination: str
    is_inside: bool
    """It is one of the project's own places, and does not leave."""
    form: ReadForm
    """How what is classified is there."""
    classification: Classification = ""
    """The strictest class among columns that are there as they are; empty: there is none."""
    columns: tuple[str, ...] = ()
    """Those columns, `dataset.column`."""
    digest: str = ""
    rows: int | None = None
