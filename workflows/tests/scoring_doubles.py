"""What stands for a scoring's plan, Ray job and publication in tests of its decisions: each step by name, scripted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from temporalio import activity
from training_doubles import AT, held
from workflows_doubles import CANDIDATE

from mainspring.core import errors
from mainspring.core.contracts import scoring, training
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.batch_scoring import messages
from mainspring.workflows.training import messages as training_messages


def score_request(**changes: Any) -> scoring.ScoreRequest:
    values: dict[str, Any] = {
        "run_id": "run_score",
        "project": "flight-delay",
        "requested_by": "ana",
        "bundle_digest": CANDIDATE,
        "input": "/data/in",
        "output": "/data/out",
    }
    return scoring.ScoreRequest.model_validate(values | changes)


@dataclass
class ScoreSteps:
    """`failing`: activity name -> what it raises. `calls`: the names of the activities in order."""

    failing: dict[str, errors.MainspringError] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    usage: list[training.UsageRecord] = field(default_factory=list)
    holds_memory: bool = False
    progress: tuple[int, ...] = (0, 60)
    """Rows of a hundred that are told as done, one after the other."""
    scores_for_ever: bool = False
    scoring_started: asyncio.Event = field(default_factory=asyncio.Event)
    job_stopped: bool = False

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.failing:
            raise temporal_errors.to_failure(self.failing[name])

    def activities(self, *, with_usage: bool = True) -> list[Callable[..., Any]]:
        @activity.defn(name=messages.PLAN)
        async def plan(_: scoring.ScoreRequest) -> messages.Planned:
            self._called(messages.PLAN)
            return messages.Planned(
                spec_path="/run/spec.json",
                identity="sha256:scoring",
                input_version="sha256:input",
                features_digest="sha256:features",
                rows=100,
                parts=4,
            )

        @activity.defn(name=messages.SCORE)
        async def score(asked: messages.Score) -> messages.Scored:
            info = activity.info()
            assert info.workflow_id is not None
            handle = activity.client().get_workflow_handle(info.workflow_id)
            for rows in self.progress:
                told = scoring.ScoreProgress(parts=4, parts_done=rows // 25, rows=100, rows_done=rows)
                await handle.signal(scoring.PROGRESS_SIGNAL, told)
            self._called(messages.SCORE)
            self.scoring_started.set()
            with contextlib.ExitStack() as stopping:
                stopping.callback(setattr, self, "job_stopped", True)
                while self.scores_for_ever:
                    activity.heartbeat()
                    await asyncio.sleep(0.05)
                stopping.pop_all()
            return messages.Scored(
                detail={"parts_found": 1},
                attempts=1,
                usage=training.UsageRecord(
                    usage_key=f"{asked.request.run_id}-score-0",
                    run_id=asked.request.run_id,
                    project=asked.request.project,
                    service="ray-score",
                    sku="cpu_core_hour",
                    consumed_quantity=0.01,
                    consumed_unit="core-hours",
                    started_at=AT,
                    ended_at=AT,
                ),
                more_usage=[held("run_score/memory")] if self.holds_memory else [],
            )

        @activity.defn(name=messages.PUBLISH)
        async def publish(asked: messages.Publish) -> messages.Published:
            self._called(messages.PUBLISH)
            assert asked.planned.identity == "sha256:scoring"
            return messages.Published(rows=100, parts=4, scores_digest="sha256:scores")

        @activity.defn(name=training_messages.REPORT_USAGE)
        async def report_usage(asked: training_messages.ReportUsage) -> None:
            self._called(training_messages.REPORT_USAGE)
            self.usage.append(asked.record)

        return [plan, score, publish, *([report_usage] if with_usage else [])]
