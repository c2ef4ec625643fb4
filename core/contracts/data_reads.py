"""What is about to be read of a project's data in an environment, and how it may be read there."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from mainspring.core.contracts.base import Message, Request, Slug
from mainspring.core.contracts.catalog import Classification

__all__ = ["DataRead", "DataReadView", "ReadDataset", "ReadForm"]

#: How what is not for everybody is there: nothing is classified; rows of nobody; sealed; as it is.
ReadForm: TypeAlias = Literal["open", "synthetic", "sealed", "clear"]

_Name = Annotated[str, Field(min_length=1, max_length=1000)]
_Names = Annotated[list[_Name], Field(max_length=10_000)]


class ReadDataset(Request):
    """One table, by what its files and its definition say. It has no value of any row."""

    name: _Name
    """As the catalog calls it: `lake.flights`, `view.tail_last`; of a table that no catalog has, any."""
    version: Annotated[str, Field(max_length=200)] = ""
    """The digest of its content."""
    columns: _Names
    classification: Classification = ""
    """What its definition says."""
    personal: _Names = []
    """Columns that tell of a person, as its definition says."""
    sealed: _Names = []
    """Columns whose values are all sealed."""
    is_synthetic: bool = False
    """Every file that it comes from is marked as rows of nobody."""
    is_uncatalogued: bool = False
    """No entry of the catalog is of its name: columns are told by theirs, over all entries."""

    @model_validator(mode="after")
    def _has_them(self) -> Self:
        for field in ("personal", "sealed"):
            if strange := sorted(set(getattr(self, field)) - set(self.columns)):
                raise ValueError(f"`{field}` names `{strange[0]}`, which is no column; send every column")
        return self


class DataRead(Request):
    """Asked before anything is made of it; the answer is on record."""

    environment: Annotated[str, Field(min_length=1, max_length=40)]
    datasets: Annotated[list[ReadDataset], Field(min_length=1, max_length=1000)]
    run_id: Annotated[str, Field(max_length=100)] = ""
    """Who reads it; the same of one run is on record once. Empty: a person asks."""
    purpose: Annotated[str, Field(pattern=r"^(|[a-z][a-z0-9-]{0,39})$")] = ""
    """What for. A run's is the one that it was started for, whatever is said here."""


class DataReadView(Message):
    """It may be read."""

    project: Slug
    environment: str
    form: ReadForm
    """The least protected of what is classified."""
    classification: Classification = ""
    """The strictest class among columns of that form; empty: nothing is classified."""
    columns: tuple[str, ...] = ()
    """Those columns, `dataset.column`."""
    purpose: str = ""
    """What it is read for, as far as anybody said it."""
