"""`POST /v1/features:read`: one answer, given by FastAPI's route or by the fast path before it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from starlette.types import Receive

from mainspring.core import ports
from mainspring.core.contracts import features
from mainspring.core.features import schema
from mainspring.serving import gate as gates
from mainspring.serving.access import guard, masking
from mainspring.serving.features import push, read
from mainspring.serving.http import bodies, payload, v2_infer

#: Ours, and where Feast's remote online store and its clients ask.
PATHS: Final = ("/v1/features:read", "/get-online-features")
ARROW: Final = "application/vnd.apache.arrow.stream"

_JSON: Final = (b"content-type", b"application/json")
_ARROW: Final = (b"content-type", ARROW.encode())


class Services(Protocol):
    """Who knows the feature services."""

    def services(self) -> Iterable[schema.FeatureService]: ...


@dataclass(frozen=True)
class FeatureReads:
    """What answers reads of features over HTTP."""

    online: ports.OnlineFeatures
    shelf: Services
    limits: payload.Limits
    gate: gates.Gate
    max_rows: int
    masking: masking.Masking | None = None
    """What is shown to whom; None: everything to whoever may read."""
    costs: gates.Costs = field(default_factory=gates.Costs)

    async def answer(
        self, headers: dict[str, str], receive: Receive
    ) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """Headers and body of the answer. Errors: those of the payload, of the gate and of the read; ClientGone."""
        deadline = v2_infer.deadline_of(headers)
        body = await payload.receive_body(receive, headers, self.limits)
        asked = bodies.parse(body, features.FeatureRead)
        guard.charge(max(map(len, asked.entities.values()), default=0))
        is_arrow = ARROW in headers.get("accept", "")
        # Before a thread takes over: the call at work is this task's.
        caller, purpose = guard.current().caller, headers.get(masking.PURPOSE_HEADER, "")

        def work() -> bytes:
            now_us = time.time_ns() // 1000 if asked.as_of is None else push.to_us(asked.as_of)
            found = read.read(self.online, self.shelf.services, asked, now_us=now_us, max_rows=self.max_rows)
            if (masks := self.masking) is not None:
                found = found.shown(lambda view, rows: masks.shown(view, rows, caller, purpose))
            return read.to_ipc(found) if is_arrow else read.to_json(found)

        cells = sum(map(len, asked.entities.values())) * (1 + len(asked.features or ()))
        if self.gate.runs_inline(self.costs, cells):
            self.gate.check_deadline(deadline)
            self.gate.counts.inline += 1
            began = time.perf_counter()
            answer = work()
            self.costs.measured(cells, time.perf_counter() - began)
        else:
            with self.limits.holding(body):
                answer, _ = await gates.until_gone(
                    self.gate.run(work, deadline=deadline, costs=self.costs, rows=cells),
                    lambda: payload.wait_until_gone(receive),
                )
        return [_ARROW if is_arrow else _JSON, (b"content-length", b"%d" % len(answer))], answer
