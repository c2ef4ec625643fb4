"""Ask serving what it would have been asked: push what was known, predict, and hold the answers against the facts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import numpy as np

from mainspring.core import errors, projects
from mainspring.core.client import serving as serving_client
from mainspring.core.contracts import features, prediction
from mainspring.core.features import replay
from mainspring.core.models import evaluation


@dataclass(frozen=True)
class Replayed:
    """What came back: `scores` and `labels` (n,) in the order asked, `seconds` (n,) per single-row request."""

    scores: tuple[float, ...]
    labels: tuple[int, ...]
    seconds: tuple[float, ...]
    pushed_rows: int
    read_rows: int
    """Rows of views that serving read for the answers and for `vectors`."""
    model_version: str
    vectors: dict[str, tuple[Any, ...]]
    """By `view__feature` what the online store had for each question, None where it had nothing."""

    def latency_ms(self, percentile: float) -> float:
        """Client side, one request at a time: connection kept, JSON both ways."""
        return float(np.percentile(np.asarray(self.seconds) * 1000.0, percentile))

    @property
    def auc(self) -> float:
        return evaluation.auc(np.asarray(self.labels), np.asarray(self.scores))


def ask(
    endpoint: str,
    replay_set: projects.ReplaySet,
    client: serving_client.ServingClient,
    *,
    on_row: Callable[[int], None] = lambda done: None,
) -> Replayed:
    """Replay in time order: what was known is pushed, then every flight is asked alone, as of its own time.

    Errors: those of serving; InvariantViolated if an answer does not fit its question.
    """
    scores: list[float] = []
    labels: list[int] = []
    seconds: list[float] = []
    pushed = 0
    version = ""
    vectors: dict[str, list[Any]] = {}
    for step in replay.steps(replay_set):
        pushed += _push(client, step.updates)
        for entity, label in zip(step.entities, step.labels, strict=True):
            request = prediction.PredictRequest(entities=[entity], as_of=step.as_of.astimezone(UTC))
            begun = time.perf_counter()
            answer = client.predict(endpoint, request)
            seconds.append(time.perf_counter() - begun)
            if len(answer.predictions) != 1:
                raise errors.InvariantViolated(
                    f"one row was asked for, {len(answer.predictions)} came back",
                    where="platform.demo.replayed",
                )
            scores.append(answer.predictions[0].score)
            labels.append(label)
            version = answer.model_version
            for name, values in client.read_features(_vector(replay_set, entity, request)).items():
                vectors.setdefault(name, []).extend(values)
            on_row(len(scores))
    for key in replay_set.service.keys:
        vectors.pop(key.name, None)
    read = {name: tuple(values) for name, values in vectors.items()}
    rows = 2 * len(replay_set.service.views) * len(scores)
    return Replayed(tuple(scores), tuple(labels), tuple(seconds), pushed, rows, version, read)


def _vector(
    replay_set: projects.ReplaySet, entity: Mapping[str, Any], request: prediction.PredictRequest
) -> features.FeatureRead:
    """The question for the features that the prediction was made from."""
    return features.FeatureRead(
        feature_service=replay_set.service.name,
        entities={key.name: [entity[key.name]] for key in replay_set.service.keys},
        full_feature_names=True,
        as_of=request.as_of,
    )


def _push(client: serving_client.ServingClient, updates: Sequence[replay.Pushed]) -> int:
    accepted = 0
    for update in updates:
        result = client.push(
            prediction.FeaturePush(
                view=update.view,
                keys=update.keys,
                event_times=update.event_times,
                created_times=update.created_times,
                columns=update.columns,
            )
        )
        accepted += result.accepted
    return accepted
