"""Keys that sign bundles and encrypt payloads, and the token of services: how they are changed, and who has which. Workflow type: `mainspring.RotateKeys.v1`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from mainspring.core.contracts.base import Digest, Message, Request, Slug, UtcTime
from mainspring.core.contracts.training import Stage, StepReport

__all__ = [
    "ROTATE_WORKFLOW",
    "DamagedBundle",
    "KeptKey",
    "KeyAction",
    "KeyChange",
    "KeyKind",
    "KeyRequest",
    "KeyResult",
    "KeyView",
    "KeyWithdrawal",
    "TrustView",
    "UnsignedBundle",
]

ROTATE_WORKFLOW: Final = "mainspring.RotateKeys.v1"

_Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=1000)]
#: Ninety days.
_Minutes = Annotated[float, Field(ge=0, le=129_600)]


class KeyKind(StrEnum):
    """Only grows."""

    BUNDLES = "bundles"
    """Ed25519: signs bundles, releases for devices and the heads of their channels."""
    PAYLOADS = "payloads"
    """AES-256: encrypts what Temporal keeps."""
    TOKENS = "tokens"
    """The embedded issuer's token by which services know one another."""


class KeyAction(StrEnum):
    """Only grows."""

    ROTATE = "rotate"
    """A new key, an overlap in which both count, and then the old one counts no more."""
    DENY = "deny"
    """A key that is compromised counts no more, at once; if it signs, a new one does from now on."""
    VOUCH = "vouch"
    """Bundles that a denied key signed are signed again: somebody has looked at them and answers for it."""


class KeyChange(Request):
    """What a person asks for."""

    kind: KeyKind = KeyKind.BUNDLES
    action: KeyAction = KeyAction.ROTATE
    reason: _Reason
    overlap_minutes: _Minutes = 1440.0
    """How long the old key counts beside the new one: for whoever learns of keys by other ways than by asking, as devices do."""
    key_id: Digest | None = None
    """Which key is compromised."""
    bundles: Annotated[list[Digest], Field(max_length=1000)] = []
    """Which bundles somebody answers for."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.action is not KeyAction.ROTATE and self.kind is not KeyKind.BUNDLES:
            raise ValueError(f"`{self.action}` is for keys of bundles; rotate `{self.kind}`")
        for name, action in (("key_id", KeyAction.DENY), ("bundles", KeyAction.VOUCH)):
            if bool(getattr(self, name)) != (self.action is action):
                needs = "needs" if self.action is action else "goes without"
                raise ValueError(f"`{self.action}` {needs} `{name}`")
        return self


class KeyRequest(Message):
    """Change keys."""

    change_id: str
    """Also the Temporal workflow id: of a rotation `rotate-<kind>`, so that there is one of a kind at a time."""
    requested_by: str
    reason: str
    kind: KeyKind = KeyKind.BUNDLES
    action: KeyAction = KeyAction.ROTATE
    overlap_minutes: float = 1440.0
    key_id: Digest | None = None
    bundles: list[Digest] = []


class KeyWithdrawal(Message):
    """A mark beside a public key: what it signed is believed no more."""

    key_id: Digest
    reason: str
    by: str
    at: UtcTime | None
    is_compromised: bool = False


class TrustView(Message):
    """Whose signatures a process believes now."""

    trusted: list[Digest] = []
    withdrawn: list[Digest] = []


class KeyView(Message):
    """What may be known of a key. Private halves and secrets are not."""

    kind: KeyKind
    key_id: str
    state: Literal["trusted", "withdrawn", "encrypts", "decrypts"]
    since: UtcTime | None = None
    """When its file was put there; None where keys have no file of their own."""
    public_hex: str = ""
    """Of a key that signs: what devices are given as `--key`."""
    reason: str = ""
    """Why it was withdrawn, and by whom."""
    is_compromised: bool = False
    is_shown: bool = False
    """Of tokens, which are all trusted: the one that services show."""


class DamagedBundle(Message):
    """A bundle that is not signed again, because it is not what was signed."""

    digest: Digest
    why: str


class UnsignedBundle(Message):
    """A bundle that a denied key signed: nobody opens it before it is signed again."""

    digest: Digest
    name: str = ""
    project: Slug | None = None
    endpoints: list[str] = []
    """Whose traffic names it: they answer `policy_denied` meanwhile."""


class KeptKey(Message):
    """A key of payloads that histories still need."""

    key_id: str
    needed_by: int
    """Runs and schedules that Temporal keeps; so many were found, and there may be more."""


class KeyResult(Message):
    """Answer of the workflow."""

    change_id: str
    stage: Stage
    """`done`; one that fails ends with an error."""
    key_id: str = ""
    """The key that signs or encrypts, or the token that is shown, now."""
    withdrawn: list[str] = []
    """Keys that count no more."""
    kept: list[KeptKey] = []
    resigned: int = 0
    """Bundles that have a signature of the new key in the place of the old one's."""
    damaged: list[DamagedBundle] = []
    unsigned: list[UnsignedBundle] = []
    """After a denial: what must be signed again, those that answer for an endpoint first."""
    steps: list[StepReport] = []
    message: str = ""
