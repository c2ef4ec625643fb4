"""What stands for a study's Ray job and for the control API in tests of its decisions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from temporalio import activity
from training_doubles import AT, held

from mainspring.core import errors
from mainspring.core.contracts import training, tuning
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.tuning import messages

BEST = training.ModelChanges(learning_rate=3e-3, dropout=0.2)


def trials() -> list[tuning.Trial]:
    return [
        tuning.Trial(
            number=0,
            parameters=training.ModelChanges(),
            state=tuning.TrialState.DONE,
            valid_auc=0.7,
            epochs=4,
        ),
        tuning.Trial(number=1, parameters=BEST, state=tuning.TrialState.DONE, valid_auc=0.75, epochs=4),
        tuning.Trial(
            number=2,
            parameters=training.ModelChanges(),
            state=tuning.TrialState.FAILED,
            error="loss is not finite",
        ),
    ]


@dataclass
class Study:
    error: errors.MainspringError | None = None
    is_cut_short: bool = False
    for_ever: bool = False
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: bool = False
    started: list[messages.Start] = field(default_factory=list)

    def activities(self) -> list[Callable[..., Any]]:
        @activity.defn(name=messages.TUNE)
        async def tune(request: tuning.TuneRequest) -> messages.Tuned:
            self.begun.set()
            try:
                while self.for_ever:
                    activity.heartbeat()
                    await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                self.stopped = True
                raise
            if self.error is not None:
                raise temporal_errors.to_failure(self.error)
            return messages.Tuned(
                trials=trials(),
                best=1,
                is_cut_short=self.is_cut_short,
                detail={"best": 1},
                usage=training.UsageRecord(
                    usage_key=f"{request.run_id}/tune/a/0",
                    run_id=request.run_id,
                    project=request.project,
                    service="ray-tune",
                    sku="cpu_core_hour",
                    consumed_quantity=0.02,
                    consumed_unit="core-hours",
                    started_at=AT,
                    ended_at=AT,
                ),
                more_usage=[held(f"{request.run_id}/tune/a/0/memory")],
            )

        @activity.defn(name=messages.START)
        async def start(asked: messages.Start) -> messages.Started:
            self.started.append(asked)
            return messages.Started(run_id="run_of_the_best")

        return [tune, start]


def tune_request(**changes: Any) -> tuning.TuneRequest:
    values: dict[str, Any] = {
        "run_id": "run_tune",
        "project": "flight-delay",
        "requested_by": "ana",
        "trials": 3,
        "deploy_to": "flight-delay",
    }
    return tuning.TuneRequest.model_validate(values | changes)
