"""One state directory, the tiny project and every activity of a training over them; Ray is a double that trains."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import job_double
import pytest
import tiny_project
from activity_calls import do
from ray_double import TOKEN, RayDouble, serve

from mainspring.core import projects, settings
from mainspring.core.contracts import training
from mainspring.workflows.training import (
    activities,
    data_activities,
    messages,
    model_activities,
    run_folder,
)


def install(monkeypatch: pytest.MonkeyPatch) -> tiny_project.Tiny:
    """The project under the name `tiny`, as an installed one is found; what a test sets on it is its own."""
    project = tiny_project.Tiny()
    monkeypatch.setattr(tiny_project, "PROJECT", project)
    monkeypatch.setattr(projects, "BUILT_IN", {"tiny": "tiny_project:PROJECT"})
    return project


@contextlib.contextmanager
def ray(directory: Path) -> Iterator[RayDouble]:
    token = directory / "state" / "ray" / "auth_token"
    token.parent.mkdir(parents=True)
    token.write_text(TOKEN + "\n")
    with serve(RayDouble(execute=job_double.run)) as double:
        yield double


class World:
    """One state directory, and every activity over it."""

    def __init__(
        self, directory: Path, ray_url: str = "http://127.0.0.1:9", *, train_device: str = "cpu"
    ) -> None:
        self.settings = settings.load(
            {
                "MAINSPRING_STACK_STATE_DIR": str(directory / "state"),
                "MAINSPRING_RAY_DASHBOARD_URL": ray_url,
                "MAINSPRING_RAY_CAPACITY": "spot",
                "MAINSPRING_RAY_TRAIN_DEVICE": train_device,
                "MAINSPRING_TRACKING_URI": f"sqlite:///{directory}/mlflow.db",
            },
            directory=directory,
        )
        self.posted: list[tuple[str, Any]] = []

        def answer(request: httpx.Request) -> httpx.Response:
            self.posted.append((request.url.path, json.loads(request.content)))
            return httpx.Response(201, json={})

        control = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://control")
        self.all = activities.TrainingActivities(self.settings, control)
        self.data = data_activities.DataActivities(self.settings.stack.state_dir)
        self.model = model_activities.ModelActivities(self.settings, poll_seconds=0.01)

    def folder(self, request: training.TrainRequest) -> run_folder.RunFolder:
        return run_folder.RunFolder.of(self.settings.stack.state_dir, request)

    def prepare(self, request: training.TrainRequest) -> dict[str, messages.Done]:
        steps = ("ingest", "validate", "features", "join", "leak_check", "fit_plan")
        return {name: do(getattr(self.data, name)(request)) for name in steps}

    def evaluate(self, request: training.TrainRequest) -> tuple[messages.Trained, messages.Evaluated]:
        trained = do(self.model.train(request))
        return trained, do(
            self.model.evaluate(messages.Evaluate(request=request, output_path=trained.output_path))
        )

    def bundle(self, request: training.TrainRequest) -> tuple[messages.Bundled, messages.Evaluated]:
        trained, found = self.evaluate(request)
        asked = messages.Bundle(
            request=request,
            output_path=trained.output_path,
            metrics=found.metrics,
            gates=found.gates,
            evaluation=found.evaluation,
        )
        return do(self.model.bundle(asked)), found


def request(**changes: Any) -> training.TrainRequest:
    values: dict[str, Any] = {"run_id": "run_1", "project": "tiny", "requested_by": "ana", "seed": 5}
    return training.TrainRequest.model_validate(values | changes)
