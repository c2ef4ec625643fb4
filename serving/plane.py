"""The data plane's story: admit, look up, derive, program, run, record, answer."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors, ports, traces
from mainspring.core.contracts import deployment, prediction
from mainspring.core.models import sanitise
from mainspring.serving import (
    admission,
    bundles,
    columnar,
    explaining,
    observed,
    response_cache,
    shadow,
    stats,
    traffic,
)
from mainspring.serving.access import guard
from mainspring.serving.features import push, reader
from mainspring.serving.runtimes import scores

#: Requests at work at once. Beyond that, waiting only adds latency: two cores clear 64 small batches in well under
#: the second that callers are told to wait.
MAX_IN_FLIGHT: Final = 64


def _now_us() -> int:
    return time.time_ns() // 1000


@dataclass(frozen=True)
class Answered:
    """Scores (n,) float32 and what was looked up for them."""

    scores: NDArray[np.float32]
    looked_up: reader.LookedUp
    inputs: Mapping[str, NDArray[Any]]
    """What the plan was given, each (n,)."""
    from_cache: bool = False


@dataclass(frozen=True)
class Given:
    """What one bundle answered, and as of when."""

    answered: Answered
    digest: str
    role: str
    as_of_us: int

    def rows(self) -> list[dict[str, Any]]:
        """Each prediction as `prediction.Prediction` has it."""
        n = len(self.answered.scores)
        return [
            {"score": score, "feature_status": status, "feature_age_seconds": age}
            for score, status, age in zip(
                self.answered.scores.tolist(),
                self.answered.looked_up.status_rows(n),
                self.answered.looked_up.age_rows(n, self.as_of_us),
                strict=True,
            )
        ]


@dataclass(frozen=True)
class _Question:
    """A request, whatever its form: how each bundle would admit it, and what sticks it to one."""

    label: str
    n_rows: int
    key: Callable[[bundles.LoadedBundle], str]
    admit: Callable[[bundles.LoadedBundle], admission.Asked]
    as_of_us: int


class Plane:
    """Answers predictions. Thread-safe; a batch costs a fixed number of calls, however many rows it has."""

    def __init__(
        self,
        *,
        tables: traffic.TrafficStore,
        shelf: bundles.BundleShelf,
        online: ports.OnlineFeatures,
        book: stats.StatsBook,
        max_rows: int,
        max_explain_rows: int = 256,
        max_in_flight: int = MAX_IN_FLIGHT,
        now_us: Callable[[], int] = _now_us,
        observers: Sequence[observed.Observer] = (),
        cache: response_cache.ResponseCache | None = None,
    ) -> None:
        """`observers` are told of every answer, shadows' too, in the thread that made it. `cache` None: all is computed."""
        self._tables = tables
        self._shelf = shelf
        self._online = online
        self._book = book
        self._max_rows = max_rows
        self._max_explain_rows = min(max_rows, max_explain_rows)
        self._slots = threading.BoundedSemaphore(max_in_flight)
        self._now_us = now_us
        self._observers = tuple(observers)
        self._cache = cache
        self.sanitiser: Final = sanitise.Sanitiser()
        self._shadow = shadow.Shadow(book)

    def close(self) -> None:
        """Wait for the shadow's backlog and end its thread."""
        self._shadow.close()

    def predict(
        self, endpoint: str, request: prediction.PredictRequest, request_id: str
    ) -> prediction.PredictResponse:
        """Answer every row of the request, in order, from one bundle.

        Errors: NotFound for the endpoint, InvalidRequest and SchemaMismatch for the request, Overloaded when too
        many requests are at work, and whatever the bundle fails with, which is then counted against it.
        """
        return respond(request_id, endpoint, self.give(endpoint, request))

    def give(self, endpoint: str, request: prediction.PredictRequest | columnar.Columns) -> Given:
        """As :meth:`predict`, before anything is made of the answer. Columns are asked as of now."""
        question = self._question(request)
        answered, digest, role = self._answer(endpoint, question)
        return Given(answered, digest, role, question.as_of_us)

    def explain(
        self, endpoint: str, request: prediction.PredictRequest, request_id: str
    ) -> prediction.ExplainResponse:
        """As :meth:`predict`, with what each input column added to each answer.

        It is recorded as the prediction that it explains; the time of explaining is in no statistics, which deployments are
        judged by, and the shadow is not asked.
        Errors: as `predict`, and Conflict if the bundle's kind has no method.
        """
        question = self._question(request)
        with self._admitted(question, self._max_explain_rows):
            table = self._tables.table(endpoint)
            bundle, role = self._choose(table, question, _wanted(""))
            asked = question.admit(bundle)
            answered = self._run_and_record(table, bundle, role, asked, question.as_of_us)
            with traces.span("explain", rows=asked.n_rows, bundle=bundle.digest):
                found = bundle.explain(bundle.prepare(answered.inputs))
        predicted = respond(request_id, endpoint, Given(answered, bundle.digest, role, question.as_of_us))
        return explaining.respond(predicted, found)

    def _question(self, request: prediction.PredictRequest | columnar.Columns) -> _Question:
        if isinstance(request, columnar.Columns):
            return _Question(
                label=request.label,
                n_rows=request.n_rows,
                key=lambda bundle: columnar.key(request, bundle),
                admit=lambda bundle: columnar.admit(bundle, request, self.sanitiser),
                as_of_us=self._now_us(),
            )
        return _Question(
            label="entities" if request.entities is not None else "rows",
            n_rows=request.n_rows,
            key=lambda bundle: admission.request_key(request, bundle),
            admit=lambda bundle: admission.admit(bundle, request, self.sanitiser),
            as_of_us=self._now_us() if request.as_of is None else push.to_us(request.as_of),
        )

    def infer(
        self, endpoint: str, columns: Mapping[str, NDArray[Any]], *, digest: str = ""
    ) -> tuple[NDArray[np.float32], str, str]:
        """Scores (n,) float32 of typed rows, each column (n,), with the bundle's digest and role that answered.

        `digest` asks one bundle of the endpoint's traffic; "" lets traffic choose.
        Errors: as for `predict`.
        """
        question = _Question(
            label="rows",
            n_rows=len(next(iter(columns.values()), ())),
            key=lambda _: admission.columns_key(columns),
            admit=lambda bundle: admission.admit_columns(bundle, columns, self.sanitiser),
            as_of_us=self._now_us(),
        )
        answered, chosen, role = self._answer(endpoint, question, digest)
        return answered.scores, chosen, role

    def _answer(self, endpoint: str, question: _Question, digest: str = "") -> tuple[Answered, str, str]:
        with self._admitted(question, self._max_rows):
            table = self._tables.table(endpoint)
            bundle, role = self._choose(table, question, _wanted(digest))
            asked, key = question.admit(bundle), _counted_key(table, bundle, role, question)
            answered = self._run_and_record(table, bundle, role, asked, question.as_of_us, key)
        if table.shadow is not None and role != traffic.CHOSEN:
            ask = functools.partial(self._ask_shadow, table, table.shadow, question)
            self._shadow.send(table, answered.scores, role, ask)
        return answered, bundle.digest, role

    @contextmanager
    def _admitted(self, question: _Question, max_rows: int) -> Iterator[None]:
        if not 1 <= question.n_rows <= max_rows:
            raise errors.InvalidRequest(
                f"`{question.label}` has {question.n_rows} rows, expected 1 to {max_rows}; split the request",
                field=question.label,
            )
        if not self._slots.acquire(blocking=False):
            raise errors.Overloaded(
                "too many requests are at work; try again in 1 s", retry_after_seconds=1.0
            )
        try:
            yield
        finally:
            self._slots.release()

    def _choose(
        self, table: deployment.TrafficTable, question: _Question, wanted: str
    ) -> tuple[bundles.LoadedBundle, str]:
        if wanted:
            return self._shelf.get(traffic.named(table, wanted)), traffic.CHOSEN
        stable = self._shelf.get(table.stable)
        if table.canary is None:
            return stable, traffic.STABLE
        digest, role = traffic.route(table, question.key(stable))
        return self._shelf.get(digest), role

    def _run_and_record(
        self,
        table: deployment.TrafficTable,
        bundle: bundles.LoadedBundle,
        role: str,
        asked: admission.Asked,
        as_of_us: int,
        key: str | None = None,
    ) -> Answered:
        """`key`: of the request, where the distribution of scores is kept."""
        started, cpu_started = time.perf_counter(), time.thread_time_ns()
        where = (table.endpoint, table.version, bundle.digest, role)
        try:
            answered = self._run(bundle, asked, as_of_us)
        except Exception:  # whatever a bundle fails with counts against it, then goes on to the caller
            self._book.record_error(*where, rows=asked.n_rows)
            raise
        seconds = time.perf_counter() - started
        self._book.record(
            *where,
            rows=asked.n_rows,
            scores_sum=float(answered.scores.sum(dtype=np.float64)),
            # Whose cache is warm would look faster than whoever came later: only what was computed is compared.
            seconds=None if answered.from_cache else seconds,
            keyed_score=None if key is None else (key, float(answered.scores[0])),
        )
        if self._observers:
            seen = observed.Scored(
                *where[:2],
                bundle,
                role,
                asked,
                answered.inputs,
                answered.scores,
                as_of_us,
                seconds,
                time.thread_time_ns() - cpu_started,
            )
            for observer in self._observers:
                observed.tell(observer, seen)
        return answered

    def _run(self, bundle: bundles.LoadedBundle, asked: admission.Asked, as_of_us: int) -> Answered:
        if asked.by_entity:
            with traces.span("look up", rows=asked.n_rows):
                looked_up = reader.look_up(self._online, bundle.feature_service, asked.columns, as_of_us)
            columns = _derive(bundle, asked, looked_up)
        else:
            looked_up = reader.LookedUp({}, {}, {})
            columns = dict(asked.columns)
        inputs = _inputs(bundle, columns)
        key = b""
        if self._cache is not None:
            key = response_cache.key_of(bundle.digest, inputs, guard.current().caller)
            if (known := self._cache.get(key)) is not None:
                return Answered(known, looked_up, inputs, from_cache=True)
        with traces.span("transform", rows=asked.n_rows):
            batch = bundle.prepare(inputs)
        with traces.span("model", rows=asked.n_rows, bundle=bundle.digest):
            answer = scores.checked(bundle.runtime.predict(batch), asked.n_rows, f"bundle {bundle.digest}")
        if self._cache is not None:
            self._cache.put(key, answer)
        return Answered(answer, looked_up, inputs)

    def _ask_shadow(
        self, table: deployment.TrafficTable, digest: str, question: _Question
    ) -> NDArray[np.float32]:
        bundle, role = self._shelf.get(digest), traffic.SHADOW
        asked, key = question.admit(bundle), _counted_key(table, bundle, role, question)
        return self._run_and_record(table, bundle, role, asked, question.as_of_us, key).scores


def _counted_key(
    table: deployment.TrafficTable, bundle: bundles.LoadedBundle, role: str, question: _Question
) -> str | None:
    """None: the distribution of scores is not kept, or not of what was chosen by name."""
    return question.key(bundle) if table.counts_scores and role != traffic.CHOSEN else None


def _wanted(version: str) -> str:
    """The role or digest of the bundle that the call at work or its version asks for; "": traffic chooses."""
    wanted = guard.wanted()
    if version and wanted:
        raise errors.InvalidRequest(
            "a version and a wish in the headers are both there; send one of them", field="model_version"
        )
    return version or wanted


def _derive(
    bundle: bundles.LoadedBundle, asked: admission.Asked, looked_up: reader.LookedUp
) -> dict[str, NDArray[Any]]:
    """Request, looked-up and derived columns; overrides win before derivation and after it."""
    known = {**asked.columns, **looked_up.columns, **asked.overrides}
    return {**known, **bundle.derive(known), **asked.overrides}


def _inputs(bundle: bundles.LoadedBundle, columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    absent = [name for name in bundle.input_columns if name not in columns]
    if absent:
        raise errors.SchemaMismatch(
            f"bundle `{bundle.name}` wants column `{absent[0]}`, which neither its views, its request columns nor its"
            " derived features give; build the bundle anew",
            feature=absent[0],
            expected=bundle.input_columns[absent[0]],
            got="nothing",
        )
    return {name: _narrow(columns[name], dtype) for name, dtype in bundle.input_columns.items()}


def _narrow(column: NDArray[Any], dtype: ports.FieldType) -> NDArray[Any]:
    """float64 as the float32 that the plan was fitted on; nothing else is cast. Overflow becomes an infinity."""
    if dtype == "float32" and column.dtype == np.float64:
        with np.errstate(over="ignore"):
            return column.astype(np.float32)
    return column


def respond(request_id: str, endpoint: str, given: Given) -> prediction.PredictResponse:
    """The answer as one JSON object has it."""
    return prediction.PredictResponse.model_validate(
        {
            "request_id": request_id,
            "endpoint": endpoint,
            "model_version": given.digest,
            "role": given.role,
            "predictions": given.rows(),
        }
    )
