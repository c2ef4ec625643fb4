"""What a change of keys says to its activities, by name."""

from __future__ import annotations

from typing import Final

from mainspring.core.contracts.base import Digest, Message, Slug
from mainspring.core.contracts.keys import DamagedBundle, KeptKey, KeyRequest, UnsignedBundle
from mainspring.core.contracts.training import RunEvent

PREPARE: Final = "mainspring.keys.prepare.v1"
ASK: Final = "mainspring.keys.ask.v1"
SWITCH: Final = "mainspring.keys.switch.v1"
SIGN_AGAIN: Final = "mainspring.keys.sign_again.v1"
WITHDRAW: Final = "mainspring.keys.withdraw.v1"
DENY: Final = "mainspring.keys.deny.v1"
LIST_UNSIGNED: Final = "mainspring.keys.list_unsigned.v1"
LOAD: Final = "mainspring.keys.load.v1"
REPORT: Final = "mainspring.keys.report.v1"


class Turn(Message):
    """From which key to which."""

    request: KeyRequest
    old: str
    new: str


class Ask(Message):
    """Does everybody who must know of the key?"""

    request: KeyRequest
    key_id: str
    is_withdrawn: bool = False
    """Known as one that counts no more."""


class Asked(Message):
    consumers: list[str]
    """Who was asked, and does."""


class Switched(Message):
    changed: bool
    """False where it was so before."""


class SignAgain(Message):
    """Sign what the old key signed, some of it at a time; or what is named, whoever signed it."""

    request: KeyRequest
    old: str = ""
    after: str = ""
    """Go on after this digest."""


class Signed(Message):
    """A bundle with its new signature; the old one is proof of who vouched for it until now."""

    digest: Digest
    project: Slug
    key_id: str
    signature: str


class SignedAgain(Message):
    signer: str = ""
    """The key that signs now."""
    signed: list[Signed] = []
    damaged: list[DamagedBundle] = []
    next: str = ""
    """Where to go on; empty: that was all."""


class Withdrawn(Message):
    key_ids: list[str] = []
    kept: list[KeptKey] = []


class Denied(Message):
    signer: str = ""
    """The key that signs now; empty where this machine signs nothing."""


class Unsigned(Message):
    bundles: list[UnsignedBundle] = []
    message: str = ""
    """Why their endpoints are not known."""


class Loaded(Message):
    digests: list[str] = []


class Report(Message):
    event: RunEvent
