"""What takes a model version out of use, and what it answers. Workflow type: `mainspring.RetireModel.v1`."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import StringConstraints

from mainspring.core.contracts.base import Digest, Message, Request, Slug
from mainspring.core.contracts.training import Stage, StepReport

__all__ = ["RETIRE_WORKFLOW", "RetireOptions", "RetireRequest", "RetireResult"]

RETIRE_WORKFLOW: Final = "mainspring.RetireModel.v1"

_Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=1000)]


class RetireOptions(Request):
    """What a person says of it, beside the project and the bundle."""

    reason: _Reason
    replace_by: Digest | None = None
    """Takes the traffic of every endpoint that the bundle is stable on, all at once; None: while there is one, it is refused."""
    is_revocation: bool = False
    """In an emergency: denied first, whatever it serves; endpoints without another bundle then answer `policy_denied`."""


class RetireRequest(Message):
    """Take one bundle out of use."""

    run_id: str
    """`run_...`; also the idempotency key and the Temporal workflow id."""
    project: Slug
    environment: str = "dev"
    requested_by: str
    bundle_digest: Digest
    reason: _Reason
    replace_by: Digest | None = None
    is_revocation: bool = False


class RetireResult(Message):
    """Answer of the workflow."""

    run_id: str
    stage: Stage
    """`done`; a run that fails or is cancelled ends with an error."""
    bundle_digest: Digest
    moved: list[str] = []
    """Endpoints that another bundle answers for now."""
    unanswered: list[str] = []
    """Endpoints that nobody answers for: the revoked bundle was their stable one."""
    aliases: list[str] = []
    """Names that it had in the registry."""
    steps: list[StepReport] = []
    message: str = ""
