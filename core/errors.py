"""Every error that crosses a module border, by who must act and whether trying again can help.

    MainspringError
    ├── Rejected            the caller must change the request; never retried
    │   ├── InvalidRequest      a field is absent, malformed or out of range
    │   ├── SchemaMismatch      a column or tensor is not what the plan or signature says
    │   ├── NotFound            nothing has that name
    │   ├── Conflict            the name or version is taken, or the state does not allow it
    │   ├── PreconditionFailed  the resource is not the one that the caller looked at
    │   ├── PreconditionRequired  the caller does not say which one it has looked at
    │   ├── CorruptArtifact     a file or bundle is not what its digest or signature says
    │   ├── DataInvalid         a batch of data failed its checks
    │   ├── LeakDetected        a feature knows the future
    │   ├── GateFailed          a model missed a quality gate
    │   └── JobFailed           a compute job ended without a result
    ├── Denied              the caller, or an owner, must obtain a right; never retried
    │   ├── Unauthenticated
    │   ├── PermissionDenied
    │   ├── PolicyDenied        a policy rule said no, or crashed (fail closed)
    │   ├── ApprovalRequired    somebody must decide first
    │   ├── BudgetExceeded      a start would cost more than there is
    │   ├── QuotaExceeded       a start would take more than its project may have at once
    │   └── BudgetExhausted     what was started has cost as much as it may
    ├── Busy                wait, then try again
    │   └── Overloaded
    │       └── RateLimited     this caller asks more than it may, however idle the process is
    ├── Unavailable         an operator must act; retried
    │   ├── DependencyDown
    │   └── DeadlineExceeded
    ├── Misconfigured       an operator must act; the process exits
    │   ├── InvalidSettings
    │   ├── PortInUse
    │   └── MissingTool
    └── Broken              we must act
        └── InvariantViolated

Messages are lowercase, without a final period, with names in backticks: what was expected, what came, then the
next step after `; `. HTTP status, gRPC codes and Temporal retry flags are mapped at the edges, never here.
Each class is a frozen-shape dataclass: its fields are JSON values, it pickles, and it round-trips through
:func:`to_wire` and :func:`from_wire`. An error off the wire is rebuilt from its `code`, never from a class name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar


class Kind(StrEnum):
    """Who must act."""

    REJECTED = "rejected"
    DENIED = "denied"
    BUSY = "busy"
    UNAVAILABLE = "unavailable"
    MISCONFIGURED = "misconfigured"
    BROKEN = "broken"


@dataclass(eq=False)
class MainspringError(Exception):
    """The root. Catch this at process edges only."""

    code: ClassVar[str] = "error"
    kind: ClassVar[Kind] = Kind.BROKEN
    retryable: ClassVar[bool] = False

    message: str

    def __post_init__(self) -> None:
        # pickle and copy rebuild an exception from `args`, so every field goes there, in order.
        super().__init__(*(getattr(self, f.name) for f in dataclasses.fields(self)))

    def __str__(self) -> str:
        return self.message

    @property
    def details(self) -> dict[str, Any]:
        """The typed fields other than the message."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "message"}


class Rejected(MainspringError):
    kind = Kind.REJECTED
    code = "rejected"


class Denied(MainspringError):
    kind = Kind.DENIED
    code = "denied"


class Busy(MainspringError):
    kind = Kind.BUSY
    code = "busy"
    retryable = True


class Unavailable(MainspringError):
    kind = Kind.UNAVAILABLE
    code = "unavailable"
    retryable = True


class Misconfigured(MainspringError):
    kind = Kind.MISCONFIGURED
    code = "misconfigured"


class Broken(MainspringError):
    kind = Kind.BROKEN
    code = "broken"


@dataclass(eq=False)
class InvalidRequest(Rejected):
    """A field is absent, malformed or out of range; `field` is its dotted path."""

    code = "invalid_request"
    field: str = ""


@dataclass(eq=False)
class SchemaMismatch(Rejected):
    """A column or tensor is not what the plan or signature says."""

    code = "schema_mismatch"
    feature: str = ""
    expected: str = ""
    got: str = ""


@dataclass(eq=False)
class NotFound(Rejected):
    """Nothing of kind `resource` is called `name`; `did_you_mean` lists close names."""

    code = "not_found"
    resource: str = ""
    name: str = ""
    did_you_mean: tuple[str, ...] = ()


@dataclass(eq=False)
class Conflict(Rejected):
    """The name or version is taken, or the state does not allow the change."""

    code = "conflict"
    resource: str = ""
    name: str = ""


@dataclass(eq=False)
class PreconditionFailed(Rejected):
    """Somebody changed the resource since the caller looked at it; `current` is its version now.

    `changed` names what the last change on record set, `by` whom and `at` what time.
    """

    code = "precondition_failed"
    resource: str = ""
    name: str = ""
    current: str = ""
    changed: tuple[str, ...] = ()
    by: str = ""
    at: str = ""


@dataclass(eq=False)
class PreconditionRequired(Rejected):
    """A change that could undo somebody else's does not say which version it is of; `current` is the present one."""

    code = "precondition_required"
    resource: str = ""
    name: str = ""
    current: str = ""


@dataclass(eq=False)
class CorruptArtifact(Rejected):
    """A file or bundle is not what its digest or signature says."""

    code = "corrupt_artifact"
    artifact: str = ""
    expected: str = ""
    got: str = ""


@dataclass(eq=False)
class DataInvalid(Rejected):
    """A batch of data failed its checks; `failed` names them. `quarantined` is the name under which it is held."""

    code = "data_invalid"
    dataset: str = ""
    failed: tuple[str, ...] = ()
    quarantined: str = ""


@dataclass(eq=False)
class LeakDetected(Rejected):
    """A feature knows something later than its prediction time."""

    code = "leak_detected"
    features: tuple[str, ...] = ()
    evidence: str = ""


@dataclass(eq=False)
class GateFailed(Rejected):
    """A model missed a quality gate."""

    code = "gate_failed"
    gate: str = ""
    expected: str = ""
    got: str = ""


@dataclass(eq=False)
class JobFailed(Rejected):
    """A compute job ended without a result."""

    code = "job_failed"
    job_id: str = ""
    status: str = ""


@dataclass(eq=False)
class Unauthenticated(Denied):
    code = "unauthenticated"


@dataclass(eq=False)
class PermissionDenied(Denied):
    """The actor has no right to `action`."""

    code = "permission_denied"
    actor: str = ""
    action: str = ""


@dataclass(eq=False)
class PolicyDenied(Denied):
    """Rule `rule_id` said no. A rule that crashed denies too, with its `cause`."""

    code = "policy_denied"
    rule_id: str = ""
    cause: str = ""


@dataclass(eq=False)
class ApprovalRequired(Denied):
    """Somebody must decide on `run_id` first."""

    code = "approval_required"
    run_id: str = ""


@dataclass(eq=False)
class BudgetExceeded(Denied):
    """The project would spend more than it may; amounts in USD."""

    code = "budget_exceeded"
    project: str = ""
    limit_usd: float = 0.0
    needed_usd: float = 0.0


@dataclass(eq=False)
class QuotaExceeded(Denied):
    """The project has `used` of what `quota` counts, and would have more than `limit` with what was `wanted`."""

    code = "quota_exceeded"
    project: str = ""
    quota: str = ""
    limit: int = 0
    used: int = 0
    wanted: int = 0


@dataclass(eq=False)
class BudgetExhausted(Denied):
    """Run `run_id` was stopped at work: `scope` (`run`, `project`, `budget` for one of an environment or a
    period, or `unknown` where nobody could be asked) has spent `spent` of
    `limit`. `checkpoint` says what it goes on from."""

    code = "budget_exhausted"
    run_id: str = ""
    scope: str = ""
    limit: float = 0.0
    spent: float = 0.0
    currency: str = ""
    checkpoint: str = ""


@dataclass(eq=False)
class Overloaded(Busy):
    """The queue is full; come back after `retry_after_seconds`."""

    code = "overloaded"
    retry_after_seconds: float = 1.0


@dataclass(eq=False)
class RateLimited(Overloaded):
    """The caller has used up its `limit`; it has some again after `retry_after_seconds`."""

    code = "rate_limited"
    limit: str = ""


@dataclass(eq=False)
class DependencyDown(Unavailable):
    """A part this process needs does not answer."""

    code = "dependency_down"
    name: str = ""


@dataclass(eq=False)
class DeadlineExceeded(Unavailable):
    """Time ran out in `stage`."""

    code = "deadline_exceeded"
    stage: str = ""


@dataclass(eq=False)
class InvalidSettings(Misconfigured):
    """One or more settings are unknown or malformed; `problems` has a line for each."""

    code = "invalid_settings"
    problems: tuple[str, ...] = ()


@dataclass(eq=False)
class PortInUse(Misconfigured):
    code = "port_in_use"
    port: int = 0
    setting: str = ""


@dataclass(eq=False)
class MissingTool(Misconfigured):
    """A program or package is not installed; `fix` is the command that mends it."""

    code = "missing_tool"
    tool: str = ""
    fix: str = ""


@dataclass(eq=False)
class InvariantViolated(Broken):
    """Our own mistake; `where` names the invariant."""

    code = "invariant_violated"
    where: str = ""


def _walk(cls: type[MainspringError]) -> Iterator[type[MainspringError]]:
    yield cls
    for sub in cls.__subclasses__():
        yield from _walk(sub)


#: code -> class; the only way an error comes back from another process.
BY_CODE: Mapping[str, type[MainspringError]] = {cls.code: cls for cls in _walk(MainspringError)}


def to_wire(error: MainspringError) -> dict[str, Any]:
    """The error as JSON values: `code`, `kind`, `message`, `retryable`, `details`."""
    return {
        "code": error.code,
        "kind": str(error.kind),
        "message": error.message,
        "retryable": error.retryable,
        "details": {k: list(v) if isinstance(v, tuple) else v for k, v in error.details.items()},
    }


def from_wire(wire: Mapping[str, Any]) -> MainspringError:
    """Rebuild an error from :func:`to_wire`'s form.

    A code this version does not know becomes the class of its `kind`, and a field it does not know is left
    out: an older client still learns who must act.
    """
    message = str(wire.get("message", ""))
    kind = str(wire.get("kind", ""))
    cls = BY_CODE.get(str(wire.get("code", ""))) or BY_CODE.get(kind, Broken)
    known = {f.name: f for f in dataclasses.fields(cls) if f.name != "message"}
    details = wire.get("details") or {}
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in details.items() if k in known}
    return cls(message, **fields)
