"""One infer request from checked inputs to recorded answer, whatever transport brought it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from mainspring.core import errors, traces
from mainspring.serving import gate
from mainspring.serving.access import guard
from mainspring.serving.models import book, repository, tensor_model
from mainspring.serving.protocols.v2 import request, response

#: Bodies above this are parsed in the thread that runs the model: JSON takes about 1.5 us a kilobyte.
PARSE_INLINE_BYTES: Final = 64 << 10

#: What a request counts as when its caller went away; not an error of ours.
CANCELLED: Final = "cancelled"


Gone: TypeAlias = Callable[[], Awaitable[None]]


class Inference:
    """Answers infer requests. All methods are called on the loop of its gate."""

    def __init__(self, models: repository.Repository, doorkeeper: gate.Gate, counts: book.ModelBook) -> None:
        self.models: Final = models
        self.gate: Final = doorkeeper
        self.book: Final = counts
        self._costs: dict[str, gate.Costs] = {}

    async def answer(
        self,
        name: str,
        version: str,
        body: bytes | bytearray,
        json_length: int | None,
        *,
        deadline: float = math.inf,
        gone: Gone | None = None,
    ) -> response.Encoded:
        """Answer one REST body. `deadline` is on `time.monotonic`; `gone` returns when the client has left.

        Errors: NotFound, InvalidRequest and SchemaMismatch for the request, Overloaded, DeadlineExceeded, and what
        the model fails with. All but an unknown model or version are counted for the model.
        """
        model = self.models.get(name)
        signature = model.signature(version)
        phases = book.Phases()
        began = time.perf_counter_ns()
        # A context manager of the library would cost 2 us here.
        try:
            if len(body) > PARSE_INLINE_BYTES:
                return await self._whole_in_thread(
                    model, version, signature, body, json_length, deadline, gone, phases
                )
            asked = request.read(body, json_length, signature)
            read = time.perf_counter_ns()
            if asked.timeout_seconds != math.inf:
                deadline = min(deadline, time.monotonic() + asked.timeout_seconds)
            answer = await self.infer(
                model, version, signature, asked.inputs, deadline, phases, gone, priority=asked.priority
            )
            ran = time.perf_counter_ns()
            encoded = response.write(name, answer, asked.outputs, asked.id)
        except BaseException as error:
            self.count_failure(model, version, error, began)
            raise
        phases.input = read - began
        phases.output = time.perf_counter_ns() - ran
        self.book.answered(name, answer.version, signature.rows(asked.inputs), phases)
        return encoded

    async def infer(
        self,
        model: tensor_model.TensorModel,
        version: str,
        signature: tensor_model.Signature,
        inputs: tensor_model.Tensors,
        deadline: float,
        phases: book.Phases,
        gone: Gone | None = None,
        *,
        priority: int = 0,
    ) -> tensor_model.Inferred:
        """Run the model on inputs that fit, here or in a thread; fills `phases.queue` and `phases.infer`."""
        rows = signature.rows(inputs)
        guard.charge(rows)
        costs = self._costs_of(model.name)
        began = time.perf_counter_ns()
        if self.gate.runs_inline(costs, rows) and model.is_resident(version):
            self.gate.check_deadline(deadline)
            self.gate.counts.inline += 1
            with traces.span("infer", model=model.name, rows=rows):
                answer = model.infer(version, inputs)
            phases.infer = time.perf_counter_ns() - began
            costs.measured(rows, phases.infer / 1e9)
            return answer

        def work() -> tensor_model.Inferred:
            with traces.span("infer", model=model.name, rows=rows):
                return model.infer(version, inputs)

        answer, waited = await gate.until_gone(
            self.gate.run(work, deadline=deadline, costs=costs, rows=rows, priority=priority), gone
        )
        phases.queue = int(waited * 1e9)
        phases.infer = time.perf_counter_ns() - began - phases.queue
        return answer

    async def _whole_in_thread(
        self,
        model: tensor_model.TensorModel,
        version: str,
        signature: tensor_model.Signature,
        body: bytes | bytearray,
        json_length: int | None,
        deadline: float,
        gone: Gone | None,
        phases: book.Phases,
    ) -> response.Encoded:
        def work() -> tuple[response.Encoded, str, int]:
            began = time.perf_counter_ns()
            asked = request.read(body, json_length, signature)
            guard.charge(signature.rows(asked.inputs))
            parsed = time.perf_counter_ns()
            with traces.span("infer", model=model.name, rows=signature.rows(asked.inputs)):
                answer = model.infer(version, asked.inputs)
            ran = time.perf_counter_ns()
            encoded = response.write(model.name, answer, asked.outputs, asked.id)
            phases.input, phases.infer = parsed - began, ran - parsed
            phases.output = time.perf_counter_ns() - ran
            return encoded, answer.version, signature.rows(asked.inputs)

        (encoded, answered_by, rows), waited = await gate.until_gone(
            self.gate.run(work, deadline=deadline), gone
        )
        phases.queue = int(waited * 1e9)
        self.book.answered(model.name, answered_by, rows, phases)
        return encoded

    def count_failure(
        self, model: tensor_model.TensorModel, version: str, error: BaseException, began: int
    ) -> None:
        """Count a request that ended in `error` against the model and version; `began` is on perf_counter_ns."""
        if isinstance(error, errors.MainspringError):
            code = error.code
        else:
            gone = isinstance(error, asyncio.CancelledError | gate.ClientGone)
            code = CANCELLED if gone else errors.InvariantViolated.code
        self.book.failed(model.name, version or model.versions()[0], code, time.perf_counter_ns() - began)

    def _costs_of(self, name: str) -> gate.Costs:
        costs = self._costs.get(name)
        if costs is None:
            costs = self._costs[name] = gate.Costs()
        return costs
