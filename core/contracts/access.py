"""Who may ask serving, and how much: API keys and limits."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from mainspring.core.contracts.base import Message, Request, Slug, UtcTime

#: `predict`: scores and inference; `read`: features, and what is served; `admin`: change what is served; `route`: choose,
#: for a request of its own, which bundle of an endpoint's traffic answers.
Scope: TypeAlias = Literal["predict", "read", "admin", "route"]

#: A name for records and metrics: `team-a/checkout`, `developer@local`.
CallerName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9@._/-]{0,99}$", examples=["team-a/checkout"])]
Scopes = Annotated[list[Scope], Field(min_length=1, max_length=4)]
_Rate = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1, le=10**12)]


class KeyCreate(Request):
    """A key for one caller."""

    caller: CallerName
    """Limits, logs and usage are kept by this name; several keys of one caller, as in a rotation, count together."""
    scopes: Scopes = ["predict", "read"]
    project: Slug | None = None
    """Whom the usage is charged to; None: the project of the model that answered."""
    expires_at: UtcTime | None = None


class KeyRotate(Request):
    """A key in the place of another one, for the same caller and the same rights."""

    overlap_minutes: Annotated[float, Field(ge=0, le=129_600)] = 1440.0
    """How long both count; then the old one has expired."""
    expires_at: UtcTime | None = None
    """Of the new key."""


class KeyView(Message):
    """What is known of a key. The key itself is not."""

    key_id: str
    caller: CallerName
    scopes: Scopes
    project: Slug | None = None
    created_at: UtcTime
    created_by: str
    expires_at: UtcTime | None = None
    revoked_at: UtcTime | None = None
    revoked_by: str = ""
    replaces: str = ""
    """The key in whose place this one was issued, by id."""


class KeyIssued(Message):
    """A new key, shown once."""

    key: str
    view: KeyView


class LimitRule(Request):
    """What each caller it is for may ask of each endpoint it is for. What is None is not limited."""

    caller: str = "*"
    """A caller's name; `*`: every caller, each for itself. Who shows no key is `anonymous`, all of them together."""
    endpoint: str = "*"
    """An endpoint or model, or `features` for reads of features; `*`: every one, each for itself."""
    requests_per_second: _Rate | None = None
    burst_requests: _Count | None = None
    """Requests at once after a pause; None: those of one second."""
    rows_per_second: _Rate | None = None
    burst_rows: _Count | None = None
    """Rows at once after a pause; None: those of one second. One request may overdraw it: the next ones wait longer."""
    requests_per_day: _Count | None = None
    """Of UTC, and of one process: a restart begins anew."""
    rows_per_day: _Count | None = None

    priority: Literal["high", "normal", "low"] | None = None
    """The caller's class where requests wait for a thread; it may ask for less (v2's `priority`), not for more. None: the
    request's own word counts."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.burst_requests is not None and self.requests_per_second is None:
            raise ValueError("`burst_requests` goes with `requests_per_second`")
        if self.burst_rows is not None and self.rows_per_second is None:
            raise ValueError("`burst_rows` goes with `rows_per_second`")
        return self


class LimitsDocument(Request):
    """The limits in force. Of the rules for a caller and an endpoint the one that names more counts, the caller first."""

    version: Annotated[int, Field(ge=0)]
    rules: Annotated[list[LimitRule], Field(max_length=1000)] = []
    set_by: str = ""

    @model_validator(mode="after")
    def _once(self) -> Self:
        seen = [(rule.caller, rule.endpoint) for rule in self.rules]
        twice = (
            next((pair for pair in seen if seen.count(pair) > 1), None)
            if len(set(seen)) < len(seen)
            else None
        )
        if twice is not None:
            raise ValueError(f"two rules for caller `{twice[0]}` and endpoint `{twice[1]}`; write one")
        return self
