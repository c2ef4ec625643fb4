"""What stands for places, list and signature in tests of an erasure's decisions: each step by name, scripted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from temporalio import activity

from mainspring.core import errors
from mainspring.core.contracts import erasure
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.erasing import messages

AT = datetime(2026, 11, 1, tzinfo=UTC)
DATA = "sha256:" + "d" * 64


def erase_request(**changes: Any) -> erasure.EraseRequest:
    values: dict[str, Any] = {
        "erasure_id": "era_1",
        "project": "tiny",
        "requested_by": "ana",
        "requested_at": AT,
        "entity": "tailnum",
        "key": "N102",
        "ground": "objection",
        "subject_hash": "a" * 64,
    }
    return erasure.EraseRequest.model_validate(values | changes)


@dataclass
class Erasing:
    """`failing`: activity name -> what it raises, the first `times` times. `calls`: what was done, in order."""

    failing: dict[str, errors.MainspringError] = field(default_factory=dict)
    times: int = 10_000
    calls: list[str] = field(default_factory=list)
    reports: list[erasure.ErasureReport] = field(default_factory=list)
    certified: list[messages.Certify] = field(default_factory=list)

    def _called(self, name: str, about: str = "") -> None:
        self.calls.append(name.split(".")[-2] + about)
        if name in self.failing and self.times > 0:
            self.times -= 1
            raise temporal_errors.to_failure(self.failing[name])

    def activities(self) -> list[Callable[..., Any]]:
        @activity.defn(name=messages.KEEP_OUT)
        async def keep_out(_: erasure.EraseRequest) -> messages.Done:
            self._called(messages.KEEP_OUT)
            return messages.Done()

        @activity.defn(name=messages.FIND)
        async def find(_: erasure.EraseRequest) -> messages.Places:
            self._called(messages.FIND)
            return messages.Places(
                found=[
                    erasure.Found(place="offline tables", rows=8, items=5, datasets=[DATA]),
                    erasure.Found(place="online store"),
                ]
            )

        @activity.defn(name=messages.ERASE)
        async def erase(asked: messages.EraseOne) -> erasure.Found:
            self._called(messages.ERASE, f" {asked.place}")
            return erasure.Found(place=asked.place, rows=8)

        @activity.defn(name=messages.PROVE)
        async def prove(asked: messages.Prove) -> messages.Proven:
            self._called(messages.PROVE)
            told = [
                erasure.CertifiedPlace(
                    place=one.place, rows_before=one.rows, items_before=one.items, rows_after=0
                )
                for one in asked.before
            ]
            return messages.Proven(places=told, erased_at=AT)

        @activity.defn(name=messages.CERTIFY)
        async def certify(asked: messages.Certify) -> messages.Certified:
            self._called(messages.CERTIFY)
            self.certified.append(asked)
            return messages.Certified(certificate="{}", rows_erased=8, models=[])

        @activity.defn(name=messages.REPORT)
        async def report(told: messages.Report) -> messages.Done:
            self._called(messages.REPORT, f" {told.report.state}")
            self.reports.append(told.report)
            return messages.Done()

        return [keep_out, find, erase, prove, certify, report]
