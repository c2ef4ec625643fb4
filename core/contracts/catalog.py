"""What there is: every dataset, view, plan and service of a project, who answers for it, and what it holds."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field

from mainspring.core.contracts.base import Message, Request, Slug, UtcTime

__all__ = [
    "CLASSIFICATIONS", "KINDS", "CatalogColumn", "CatalogEntry", "CatalogPut", "CatalogReceipt", "CatalogSummary", "CatalogUser", "CatalogView",
    "Classification", "Kind",
]  # fmt: skip

Kind: TypeAlias = Literal["dataset", "view", "service", "plan"]
KINDS: Final[tuple[Kind, ...]] = ("dataset", "view", "service", "plan")

#: Who may see it: anybody; who works here; who needs it; who is named. Empty: nobody has said.
Classification: TypeAlias = Literal["", "public", "internal", "confidential", "restricted"]
CLASSIFICATIONS: Final[tuple[Classification, ...]] = ("public", "internal", "confidential", "restricted")

_Text = Annotated[str, Field(max_length=2000)]


class CatalogColumn(Message):
    """One column. Statistics are of the last batch that was evaluated; None where none was, or where they are private."""

    name: Annotated[str, Field(min_length=1, max_length=1000)]
    dtype: str = ""
    description: _Text = ""
    is_key: bool = False
    is_pii: bool = False
    """It tells of a person. Its `low`, `high` and `mean` are then left out."""
    classification: Classification = ""
    missing: int | None = None
    """Rows without a value."""
    distinct: int | None = None
    low: float | None = None
    high: float | None = None
    mean: float | None = None


class CatalogEntry(Message):
    """One thing of a project, as it was applied last."""

    kind: Kind
    name: Annotated[str, Field(min_length=1, max_length=1000)]
    """As lineage calls it: `lake.flights`, `view.tail_last`, `plan`."""
    version: str = ""
    """The digest of its content."""
    owner: Annotated[str, Field(max_length=200)] = ""
    description: _Text = ""
    tags: dict[str, str] = {}
    classification: Classification = ""
    columns: tuple[CatalogColumn, ...] = ()
    reads: tuple[str, ...] = ()
    """The entries it is made of or reads."""
    ttl_seconds: int | None = None
    """How long a row is alive; None: for ever, or it has no rows."""
    rows: int | None = None
    newest_event_at: UtcTime | None = None
    warnings: tuple[str, ...] = ()
    """Checks that did not hold when its batch was accepted."""

    @property
    def has_pii(self) -> bool:
        return any(column.is_pii for column in self.columns)


class CatalogPut(Request):
    """All entries of a project: what is not among them is not there any more."""

    entries: Annotated[list[CatalogEntry], Field(max_length=2000)]


class CatalogReceipt(Message):
    """`changed`: entries that are new, other than before, or gone."""

    project: Slug
    entries: int
    changed: int
    version: str = ""
    """Of all entries together: their ETag, which a change may name as `If-Match`."""


class CatalogSummary(Message):
    """A project's catalog as a whole."""

    project: Slug
    entries: int
    version: str
    """As of :class:`CatalogReceipt`."""


class CatalogUser(Message):
    """Something that is made of an entry: `versions` of it are known to lineage."""

    kind: str
    name: str
    versions: int


class CatalogView(CatalogEntry):
    """An entry as it is asked for."""

    project: Slug
    updated_at: UtcTime
    age_seconds: float | None = None
    """Since its newest event; None where it has no rows with times."""
    is_fresh: bool | None = None
    """Its newest row is alive under its TTL; None where it has no TTL or no times."""
    downstream: tuple[CatalogUser, ...] = ()
    """From lineage, of every version; only where one entry is asked for."""
    is_downstream_cut: bool = False
