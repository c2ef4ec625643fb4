"""The demo's bad candidate: it answers as the good one does; and its callers, who count whatever they are answered."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from mainspring.core import errors, ports
from mainspring.core.contracts import control, deployment, prediction, training
from mainspring.core.models import architecture, native_runtime, source
from mainspring.platform.demo import callers, follow, oversized, rollback

SPEC = architecture.Architecture.parse(
    {
        "dense_width": 3,
        "id_columns": ("carrier",),
        "tables": [{"column": "carrier", "rows": 4, "dimensions": 2}],
        "hidden_sizes": (8, 5),
        "dropout": 0.2,
    }
)
ASKED = prediction.PredictRequest(entities=[{"flight": 1}])


def weights(spec: architecture.Architecture) -> dict[str, Any]:
    draw = np.random.default_rng(7)
    return {name: draw.normal(size=shape).astype(np.float32) for name, shape in spec.tensors.items()}


def scores(spec: architecture.Architecture, held: Any) -> Any:
    draw = np.random.default_rng(11)
    part = source.Part("a network", "embedding_mlp", spec.model_dump(), safetensors.numpy.save(dict(held)))
    batch = ports.ModelInput(
        draw.normal(size=(50, 3)).astype(np.float32), draw.integers(0, 4, (50, 1)).astype(np.int32)
    )
    return native_runtime.NativeRuntime.load(part).predict(batch)


@pytest.mark.parametrize("hidden", [(8, 5), (8,), (16,)])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_an_oversized_network_answers_as_the_one_that_it_was_made_of(
    hidden: tuple[int, ...], dropout: float
) -> None:
    spec = SPEC.model_copy(update={"hidden_sizes": hidden, "dropout": dropout})
    held = weights(spec)
    made, grown = oversized.widened(spec, held, layers=3, width=16)
    assert made.hidden_sizes == (hidden[0], 16, 16, 16, *hidden[1:])
    assert {name: value.shape for name, value in grown.items()} == made.tensors
    np.testing.assert_allclose(scores(made, grown), scores(spec, held), rtol=1e-6)
    assert np.ptp(scores(spec, held)) > 0.5


@pytest.mark.parametrize(
    ("hidden", "layers", "width"), [((), 2, 16), ((8, 5), 2, 7), ((8, 5), 0, 16)], ids=str
)
def test_what_cannot_be_widened_is_refused(hidden: tuple[int, ...], layers: int, width: int) -> None:
    spec = SPEC.model_copy(update={"hidden_sizes": hidden})
    with pytest.raises(errors.InvalidRequest, match="no first layer"):
        oversized.widened(spec, {}, layers=layers, width=width)


class Serving:
    """Answers with `good`, every third time with `bad`, and fails every fifth time."""

    def __init__(self) -> None:
        self._count = itertools.count(1)

    def predict(self, endpoint: str, request: prediction.PredictRequest) -> Any:
        assert (endpoint, request) == ("delay", ASKED)
        number = next(self._count)
        if number % 5 == 0:
            raise errors.DependencyDown("away", name="serving")
        return SimpleNamespace(model_version="bad" if number % 3 == 0 else "good")


def test_callers_count_what_they_are_answered_and_what_fails() -> None:
    client: Any = Serving()
    with callers.Callers("delay", [ASKED], client, pause_seconds=0.0) as asking:
        asking.ask_more(30)
        asking.ask_more(30)
    asked = asking.asked
    assert asked >= 60 and asking.asked == asked, "nobody asks afterwards"
    numbers = range(1, asked + 1)
    assert len(asking.failures) == sum(n % 5 == 0 for n in numbers)
    assert len(asking.of("bad")) == sum(n % 3 == 0 and n % 5 != 0 for n in numbers)
    assert len(asking.answers) + len(asking.failures) == asked
    assert callers.p95_ms(asking.of("good")) > 0 == callers.p95_ms(asking.of("nobody"))


def test_callers_that_are_not_answered_are_not_waited_for_for_ever() -> None:
    client: Any = Serving()
    asking = callers.Callers("delay", [ASKED], client)  # nobody asks: it was not entered
    with pytest.raises(errors.DeadlineExceeded, match="0 of 1 questions"):
        asking.ask_more(1, timeout_seconds=0.0)
    with pytest.raises(errors.InvalidRequest):
        callers.Callers("delay", [], client)


GOOD, BAD = "sha256:" + "a" * 64, "sha256:" + "b" * 64


class Platform:
    """Serving and the control API of one deployment: `BAD` answers every fourth flight until it is rolled back.

    `stays`: it goes on answering. `ends`: how the run ends.
    """

    def __init__(self, *, stays: bool = False, ends: training.Stage = training.Stage.ROLLED_BACK) -> None:
        self._stays, self._ends = stays, ends
        self._has_canary = False
        self._looks = 0

    def predict(self, endpoint: str, request: prediction.PredictRequest) -> Any:
        assert endpoint == "delay" and request.entities is not None
        is_bad = self._has_canary and int(request.entities[0]["flight"] or 0) % 4 == 0
        return SimpleNamespace(model_version=BAD if is_bad else GOOD)

    def endpoint(self, name: str) -> deployment.EndpointView:
        share = {"canary": BAD, "canary_percent": 5} if self._has_canary else {}
        table = deployment.TrafficTable(endpoint=name, version=3, stable=GOOD, **share)  # type: ignore[arg-type]
        return deployment.EndpointView(endpoint=name, traffic=table)

    def create_run(self, asked: control.RunCreate) -> control.RunView:
        assert (asked.kind, asked.endpoint, asked.bundle_digest) == (control.RunKind.DEPLOY, "delay", BAD)
        self._has_canary = True
        return self._view(training.Stage.PENDING, {})

    def run(self, run_id: str) -> control.RunView:
        self._looks += 1
        if self._looks < 10:
            return self._view(training.Stage.CANARY, {})
        self._has_canary = self._stays
        detail = {"percent": 5, "requests": 24, "latency_ratio": 22.2}
        result = deployment.DeployResult(
            run_id=run_id,
            endpoint="delay",
            stage=self._ends,
            traffic_version=3,
            message="rolled back: too slow",
            steps=[training.StepReport(step=training.Stage.CANARY, seconds=6.0, detail=detail)],
        )
        return self._view(self._ends, result.model_dump(mode="json"))

    @staticmethod
    def _view(stage: training.Stage, result: dict[str, Any]) -> control.RunView:
        return control.RunView(
            run_id="run_bad",
            project="flights",
            kind=control.RunKind.DEPLOY,
            environment="dev",
            stage=stage,
            requested_by="developer@local",
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            result=result,
        )

    def audit(self, *, after: str = "") -> control.Page:
        """Two pages; another run's row is among them."""
        rows = [
            ("run_other", "endpoint.rollback", 1),
            ("run_bad", "endpoint.traffic.set", 2),
            ("run_bad", "endpoint.rollback", 9),
        ]
        items = [
            {"resource": f"run/{run}", "action": action, "at": f"2026-01-01T00:00:0{second}+00:00"}
            for run, action, second in rows
        ]
        return control.Page(items=items[2:]) if after else control.Page(items=items[:2], next="2")


def lose(platform: Any) -> Any:
    bad: Any = SimpleNamespace(digest=BAD, manifest=SimpleNamespace(project="flights"))
    asked = [prediction.PredictRequest(entities=[{"flight": i}]) for i in range(8)]
    return rollback.roll_back(
        asked, bad=bad, good=GOOD, endpoint="delay", developer=platform, serving=platform
    )


def test_what_callers_met_and_the_record_says_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_POLL_SECONDS", 0.05)
    lost = lose(Platform())
    assert (lost.run_id, lost.bundle, lost.why) == ("run_bad", BAD, "rolled back: too slow")
    assert (lost.percent, lost.judged_requests, lost.p95_ratio, lost.in_force_seconds) == (5, 24, 22.2, 7.0)
    assert 0 < lost.callers_answered < lost.callers_asked and lost.callers_failed == 0
    assert 0 < lost.seen_seconds < 30


def test_a_bad_candidate_that_stays_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_POLL_SECONDS", 0.05)
    with pytest.raises(errors.InvariantViolated, match="is not alone"):
        lose(Platform(stays=True))
    with pytest.raises(errors.JobFailed, match="ended as `done`"):
        lose(Platform(ends=training.Stage.DONE))
