"""What stands for a training's data, Ray, MLflow and policy in tests of its decisions: each step by name, scripted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from temporalio import activity
from workflows_doubles import CANDIDATE, Endpoint

from mainspring.core import errors
from mainspring.core.contracts import evaluation, training
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.training import messages

BASELINE = "sha256:" + "d" * 64
AT = datetime(2026, 11, 24, 12, tzinfo=UTC)


def metrics(auc: float) -> training.Metrics:
    return training.Metrics(
        rows=1000,
        base_rate=0.2,
        auc=auc,
        average_precision=0.4,
        brier=0.1,
        log_loss=0.4,
        calibration_error=0.01,
    )


def held(key: str) -> training.UsageRecord:
    """What the jobs of a run had in memory."""
    return training.UsageRecord(
        usage_key=key,
        run_id=key.partition("/")[0],
        project="flight-delay",
        service="ray-train",
        sku="memory_gib_hour",
        consumed_quantity=0.5,
        consumed_unit="GiB-hours",
        started_at=AT,
        ended_at=AT,
    )


@dataclass
class Steps:
    """`failing`: activity name -> what it raises. `calls`: the names of the activities in order."""

    failing: dict[str, errors.MainspringError] = field(default_factory=dict)
    features_made_from: str = "lake"
    calls: list[str] = field(default_factory=list)
    usage: list[training.UsageRecord] = field(default_factory=list)
    holds_memory: bool = False
    training_started: asyncio.Event = field(default_factory=asyncio.Event)
    trains_for_ever: bool = False
    job_stopped: bool = False
    bundled: messages.Bundle | None = None

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.failing:
            raise temporal_errors.to_failure(self.failing[name])

    def _data(self, name: str, answer: messages.Done) -> Callable[..., Any]:
        @activity.defn(name=name)
        async def step(_: training.TrainRequest) -> messages.Done:
            self._called(name)
            return answer

        return step

    def activities(self) -> list[Callable[..., Any]]:
        @activity.defn(name=messages.TRAIN)
        async def train(request: training.TrainRequest) -> messages.Trained:
            self._called(messages.TRAIN)
            self.training_started.set()
            with contextlib.ExitStack() as stopping:
                stopping.callback(setattr, self, "job_stopped", True)
                while self.trains_for_ever:
                    activity.heartbeat()
                    await asyncio.sleep(0.05)
                stopping.pop_all()
            return messages.Trained(
                detail={"epochs": 3},
                attempts=1,
                output_path="out.json",
                usage=training.UsageRecord(
                    usage_key=f"{request.run_id}/train/0",
                    run_id=request.run_id,
                    project=request.project,
                    service="ray-train",
                    sku="cpu_core_hour",
                    consumed_quantity=0.01,
                    consumed_unit="core-hours",
                    started_at=AT,
                    ended_at=AT,
                ),
                more_usage=[held("run_train/train/0/memory")] if self.holds_memory else [],
            )

        @activity.defn(name=messages.EVALUATE)
        async def evaluate(_: messages.Evaluate) -> messages.Evaluated:
            self._called(messages.EVALUATE)
            found = {"test": metrics(0.75), "test/logistic_regression": metrics(0.72)}
            return messages.Evaluated(metrics=found, gates={"relaxed": False})

        @activity.defn(name=messages.COMPARE)
        async def compare(asked: messages.Compare) -> messages.Compared:
            self._called(messages.COMPARE)
            found = evaluation.ChampionComparison(
                bundle_digest=asked.champion, rows=1000, auc=0.74, auc_gain=0.01
            )
            return messages.Compared(
                champion=found, gates={"min_champion_gain": {"expected": ">= 0.0000", "got": 0.01}}
            )

        @activity.defn(name=messages.BUNDLE)
        async def bundle(asked: messages.Bundle) -> messages.Bundled:
            self._called(messages.BUNDLE)
            self.bundled = asked
            return messages.Bundled(candidate=CANDIDATE, baseline=BASELINE, path="/bundles/b", signer="k")

        @activity.defn(name=messages.REGISTER)
        async def register(_: messages.Register) -> messages.Registered:
            self._called(messages.REGISTER)
            return messages.Registered(name="flight-delay", version="3")

        @activity.defn(name=messages.ADMIT)
        async def admit(_: messages.Admit) -> messages.Admitted:
            self._called(messages.ADMIT)
            return messages.Admitted(rules=["bundle.signed", "bundle.gates"])

        @activity.defn(name=messages.SET_CHAMPION)
        async def set_champion(_: messages.SetChampion) -> messages.Done:
            self._called(messages.SET_CHAMPION)
            return messages.Done()

        @activity.defn(name=messages.REPORT_USAGE)
        async def report_usage(asked: messages.ReportUsage) -> None:
            self._called(messages.REPORT_USAGE)
            self.usage.append(asked.record)

        return [
            self._data(messages.INGEST, messages.Done(digest="lake", detail={"rows": 10}, reused=True)),
            self._data(messages.VALIDATE, messages.Done(made_from="lake", detail={"checks": 7})),
            self._data(messages.FEATURES, messages.Done(digest="views", made_from=self.features_made_from)),
            self._data(messages.JOIN, messages.Done(digest="rows", made_from="views")),
            self._data(messages.LEAK_CHECK, messages.Done(detail={"cutoffs": 2})),
            self._data(messages.FIT_PLAN, messages.Done(digest="plan")),
            self._data(messages.RECORD_PROBES, messages.Done(detail={"recorded": 200})),
            *(train, evaluate, compare, bundle, register, admit, set_champion, report_usage),
        ]


def all_activities(steps: Steps, endpoint: Endpoint) -> list[Callable[..., Any]]:
    return [*steps.activities(), *endpoint.activities()]


def train_request(**changes: Any) -> training.TrainRequest:
    values: dict[str, Any] = {
        "run_id": "run_train",
        "project": "flight-delay",
        "requested_by": "ana",
        "deploy_to": "flight-delay",
    }
    return training.TrainRequest.model_validate(values | changes)
