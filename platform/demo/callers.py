"""Callers of an endpoint that go on asking while it changes hands, and what they were answered."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import numpy as np

from mainspring.core import errors
from mainspring.core.client import serving as serving_client
from mainspring.core.contracts import prediction

__all__ = ["Answer", "Callers"]

#: Between an answer and the next question: callers are not what the machine is busy with.
_PAUSE_SECONDS: Final = 0.01


@dataclass(frozen=True)
class Answer:
    """One answer: to what, the bundle that gave it, when it was asked for (monotonic seconds) and how long it took."""

    request: prediction.PredictRequest
    model_version: str
    asked_at: float
    seconds: float


class Callers:
    """Asks `requests` one after the other, round and round, from `__enter__` to `__exit__`, in a thread of its own.

    `answers` and `failures` only grow; read them at any time.
    """

    def __init__(
        self,
        endpoint: str,
        requests: Sequence[prediction.PredictRequest],
        client: serving_client.ServingClient,
        *,
        pause_seconds: float = _PAUSE_SECONDS,
    ) -> None:
        """Errors: InvalidRequest without a request."""
        if not requests:
            raise errors.InvalidRequest("there is nothing to ask; give a request at least", field="requests")
        self._endpoint, self._requests, self._client = endpoint, tuple(requests), client
        self._pause_seconds = pause_seconds
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="demo-callers", daemon=True)
        self.answers: Final[list[Answer]] = []
        self.failures: Final[list[errors.MainspringError]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def ask_more(self, count: int, *, timeout_seconds: float = 60.0) -> None:
        """Wait until so many more were answered or failed. Errors: DeadlineExceeded."""
        wanted, deadline = self.asked + count, time.monotonic() + timeout_seconds
        while self.asked < wanted:
            if time.monotonic() > deadline:
                raise errors.DeadlineExceeded(
                    f"serving answered {self.asked} of {wanted} questions in {timeout_seconds:.0f} s; look at its log",
                    stage="callers",
                )
            time.sleep(0.02)

    @property
    def asked(self) -> int:
        return len(self.answers) + len(self.failures)

    def of(self, model_version: str) -> list[Answer]:
        """The answers of one bundle, in the order asked."""
        return [answer for answer in tuple(self.answers) if answer.model_version == model_version]

    def _ask(self) -> None:
        for request in itertools.cycle(self._requests):
            if self._is_over.wait(self._pause_seconds):
                return
            begun = time.monotonic()
            try:
                answered = self._client.predict(self._endpoint, request)
            except errors.MainspringError as error:
                self.failures.append(error)
            else:
                seconds = time.monotonic() - begun
                self.answers.append(Answer(request, answered.model_version, begun, seconds))


def p95_ms(answers: Sequence[Answer]) -> float:
    """Of how long they took; 0 for none."""
    return float(np.percentile([answer.seconds * 1000.0 for answer in answers], 95)) if answers else 0.0
