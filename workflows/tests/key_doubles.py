"""What stands for keys, bundles and who is asked in tests of a rotation's decisions: each step by name, scripted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from temporalio import activity
from workflows_doubles import CANDIDATE, STABLE

from mainspring.core import errors
from mainspring.core.contracts import keys, training
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.key_rotation import messages

OLD, NEW = ("sha256:" + digit * 64 for digit in "12")


def key_request(**changes: Any) -> keys.KeyRequest:
    values: dict[str, Any] = {
        "change_id": "rotate-bundles",
        "requested_by": "ana",
        "reason": "a year is over",
        "overlap_minutes": 60.0,
    }
    return keys.KeyRequest.model_validate(values | changes)


@dataclass
class Keys:
    """`failing`: activity name -> what it raises, the first `times` times. `calls`: what was done, in order."""

    failing: dict[str, errors.MainspringError] = field(default_factory=dict)
    times: int = 10_000
    kept: list[keys.KeptKey] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    events: list[training.RunEvent] = field(default_factory=list)

    def _called(self, name: str, about: str = "") -> None:
        self.calls.append(name.split(".")[-2] + about)
        if name in self.failing and self.times > 0:
            self.times -= 1
            raise temporal_errors.to_failure(self.failing[name])

    def activities(self) -> list[Callable[..., Any]]:
        @activity.defn(name=messages.PREPARE)
        async def prepare(request: keys.KeyRequest) -> messages.Turn:
            self._called(messages.PREPARE)
            return messages.Turn(request=request, old=OLD, new=NEW)

        @activity.defn(name=messages.ASK)
        async def ask(asked: messages.Ask) -> messages.Asked:
            self._called(messages.ASK, f" {asked.key_id[7]}{' gone' if asked.is_withdrawn else ''}")
            return messages.Asked(consumers=["serving", "worker"])

        @activity.defn(name=messages.SWITCH)
        async def switch(_: messages.Turn) -> messages.Switched:
            self._called(messages.SWITCH)
            return messages.Switched(changed=True)

        @activity.defn(name=messages.SIGN_AGAIN)
        async def sign_again(asked: messages.SignAgain) -> messages.SignedAgain:
            self._called(messages.SIGN_AGAIN, f" after {asked.after[7:8]}" if asked.after else "")
            first = not asked.after and self.calls.count("sign_again") == 1
            signed = messages.Signed(
                digest=CANDIDATE if asked.after else STABLE, project="tiny", key_id=OLD, signature="00"
            )
            return messages.SignedAgain(
                signer=NEW, signed=[signed] if first or asked.after else [], next=STABLE if first else ""
            )

        @activity.defn(name=messages.WITHDRAW)
        async def withdraw(turn: messages.Turn) -> messages.Withdrawn:
            self._called(messages.WITHDRAW)
            return messages.Withdrawn(key_ids=[] if self.kept else [turn.old], kept=self.kept)

        @activity.defn(name=messages.DENY)
        async def deny(_: keys.KeyRequest) -> messages.Denied:
            self._called(messages.DENY)
            return messages.Denied(signer=NEW)

        @activity.defn(name=messages.LIST_UNSIGNED)
        async def list_unsigned(_: keys.KeyRequest) -> messages.Unsigned:
            self._called(messages.LIST_UNSIGNED)
            one = keys.UnsignedBundle(digest=STABLE, name="flights", project="tiny", endpoints=["delay"])
            return messages.Unsigned(bundles=[one])

        @activity.defn(name=messages.LOAD)
        async def load(request: keys.KeyRequest) -> messages.Loaded:
            self._called(messages.LOAD)
            return messages.Loaded(digests=request.bundles)

        @activity.defn(name=messages.REPORT)
        async def report(asked: messages.Report) -> None:
            self.calls.append(f"told {asked.event.action}")
            self.events.append(asked.event)

        return [prepare, ask, switch, sign_again, withdraw, deny, list_unsigned, load, report]
