"""The two bases of every contract, and how contracts may change.

Messages travel between versions (Temporal, the wire between rooms): frozen, unknown fields are ignored, every new
field has a default, enums only grow. Requests come from people: frozen, unknown fields are refused, so that a
mistyped field is an error and not a silent default. Durations are seconds, times are UTC ISO 8601, money is in the
price book's currency, digests are `sha256:<hex>`.
"""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from mainspring.core import canonical, errors, ids

_DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")


class Message(BaseModel):
    """Crosses versions: ignores what it does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    def _repr_html_(self) -> str:
        """For notebooks: a row a field. It asks nobody."""
        rows = self.model_dump(mode="json").items()
        return (
            f"<table>{''.join(f'<tr><th>{_html(k)}</th><td>{_html(v)}</td></tr>' for k, v in rows)}</table>"
        )


class Request(BaseModel):
    """Comes from a person: refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _html(value: object) -> str:
    """Text of others, in a page of somebody's notebook."""
    return html.escape("" if value is None else str(value))


def _slug(value: str) -> str:
    try:
        return ids.check_slug(value, "resource")
    except errors.InvalidRequest as error:
        raise ValueError(error.message) from error


def _digest(value: str) -> str:
    if not _DIGEST.match(value):
        raise ValueError("expected `sha256:` and 64 hex digits")
    return value


def _utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("expected a time zone; write 2013-12-01T10:00:00Z")
    return value.astimezone(UTC)


Slug = Annotated[str, AfterValidator(_slug), Field(min_length=2, max_length=63, examples=["flight-delay"])]
Digest = Annotated[str, AfterValidator(_digest)]
UtcTime = Annotated[datetime, AfterValidator(_utc)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Percent = Annotated[int, Field(ge=0, le=100)]


_VERSION_DIGITS: Final = 32


def version_of(*parts: object) -> str:
    """The version of a resource: of what was set, by its content, so that setting the same again gives the same."""
    return canonical.digest(list(parts)).removeprefix("sha256:")[:_VERSION_DIGITS]


def utc_now() -> datetime:
    """The clock of process edges; workflows and pure code take the time as an argument."""
    return datetime.now(UTC)
