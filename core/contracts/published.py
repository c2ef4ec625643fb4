"""The processes as other languages see them: JSON Schemas of what starts them, what they answer, and what can be asked.

A schema is of one version of one process (`mainspring.TrainModel.v1`). Within a version it only grows: :func:`breaks`
says what in a newer schema a client of an older one could not live with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from mainspring.core.contracts import (
    access_requests,
    base,
    canaries,
    deployment,
    drift_checks,
    erasure,
    idling,
    keys,
    materialising,
    pipelines,
    releasing,
    retention,
    retiring,
    retraining,
    scoring,
    skew,
    training,
    tuning,
)

__all__ = ["PROCESSES", "Published", "breaks", "schema", "schemas"]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

#: What limits a value from below and from above; a request's may be loosened, never tightened.
_LOWER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_UPPER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")

#: What says which values there are; everything else of a schema is words and limits.
_SHAPE: Final = ("type", "format", "$ref", "const", "additionalProperties", "items", "prefixItems")


@dataclass(frozen=True)
class Published:
    """One process: the message that starts it, the one it answers with, and by name what it can be asked or told."""

    request: type[base.Message]
    result: type[base.Message]
    queries: Mapping[str, type[base.Message]] = field(default_factory=dict)
    updates: Mapping[str, tuple[type[base.Message], type[base.Message]]] = field(default_factory=dict)
    """What is sent, what is answered."""


_STATUS: Final = {training.STATUS_QUERY: training.RunStatus}

#: By workflow type: all that a client outside may start.
PROCESSES: Final[Mapping[str, Published]] = {
    training.TRAIN_WORKFLOW: Published(
        training.TrainRequest,
        training.TrainResult,
        queries=_STATUS,
        updates={training.DECIDE_UPDATE: (training.Decision, training.RunStatus)},
    ),
    tuning.TUNE_WORKFLOW: Published(tuning.TuneRequest, tuning.TuneResult, queries=_STATUS),
    pipelines.PIPELINE_WORKFLOW: Published(
        pipelines.PipelineRequest,
        pipelines.PipelineResult,
        queries=_STATUS,
        updates={training.DECIDE_UPDATE: (training.Decision, training.RunStatus)},
    ),
    deployment.DEPLOY_WORKFLOW: Published(
        deployment.DeployRequest,
        deployment.DeployResult,
        queries=_STATUS,
        updates={str(order): (canaries.Steer, training.RunStatus) for order in canaries.CanaryOrder},
    ),
    scoring.SCORE_WORKFLOW: Published(scoring.ScoreRequest, scoring.ScoreResult, queries=_STATUS),
    skew.SKEW_WORKFLOW: Published(skew.SkewRequest, skew.SkewOutcome),
    retraining.RETRAIN_WORKFLOW: Published(retraining.RetrainRequest, retraining.RetrainOutcome),
    drift_checks.CHECK_WORKFLOW: Published(drift_checks.DriftCheckRequest, drift_checks.DriftCheckOutcome),
    retention.RETENTION_WORKFLOW: Published(retention.RetentionRequest, retention.RetentionOutcome),
    materialising.MATERIALIZE_WORKFLOW: Published(
        materialising.MaterializeRequest, materialising.MaterializeOutcome
    ),
    keys.ROTATE_WORKFLOW: Published(keys.KeyRequest, keys.KeyResult, queries=_STATUS),
    idling.STOP_IDLE_WORKFLOW: Published(idling.StopIdleRequest, idling.StopIdleOutcome),
    releasing.RELEASE_WORKFLOW: Published(releasing.ReleaseRequest, releasing.ReleaseResult, queries=_STATUS),
    retiring.RETIRE_WORKFLOW: Published(retiring.RetireRequest, retiring.RetireResult, queries=_STATUS),
    erasure.ERASE_WORKFLOW: Published(
        erasure.EraseRequest,
        erasure.EraseResult,
        queries=_STATUS,
        updates={training.DECIDE_UPDATE: (training.Decision, training.RunStatus)},
    ),
    access_requests.EXPIRE_WORKFLOW: Published(access_requests.ExpireRequest, access_requests.ExpireOutcome),
}


def schemas() -> dict[str, dict[str, Any]]:
    """Every process's schema by workflow type."""
    return {name: schema(name, published) for name, published in PROCESSES.items()}


def schema(name: str, published: Published) -> dict[str, Any]:
    """One JSON Schema document. `request` and `result` are properties of it, so that generators find both."""
    messages = [published.request, published.result, *published.queries.values()]
    for sent, answered in published.updates.values():
        messages += [sent, answered]
    refs, document = models_json_schema(
        [(message, "validation") for message in dict.fromkeys(messages)], title=name
    )

    def ref(message: type[base.Message]) -> dict[str, Any]:
        return dict(refs[(message, "validation")])

    told: dict[str, Any] = {"request": ref(published.request), "result": ref(published.result)}
    told |= {f"query:{query}": ref(answer) for query, answer in published.queries.items()}
    for update, (sent, answered) in published.updates.items():
        told |= {f"update:{update}": ref(sent), f"update:{update}:answer": ref(answered)}
    return {
        "$schema": _DIALECT,
        "title": name,
        "description": f"What Temporal workflow `{name}` is started with, answers, and can be asked.",
        "type": "object",
        "properties": told,
        "$defs": document["$defs"],
    }


def breaks(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What in `new` somebody who knows `old` could not live with, a line each; both are documents of :func:`schema`.

    Allowed: new messages, new fields that have a default, new values of an enum, wider limits.
    """
    found = []
    for told in old["properties"]:
        if told not in new["properties"]:
            found.append(f"`{told}` is gone")
        elif old["properties"][told] != new["properties"][told]:
            found.append(f"`{told}` is another message")
    for name, before in old["$defs"].items():
        if name not in new["$defs"]:
            found.append(f"`{name}` is gone")
            continue
        found += [f"`{name}`{where} {what}" for where, what in _differences(before, new["$defs"][name], "")]
    return found


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> Iterator[tuple[str, str]]:
    """Where, below one definition, and what."""
    for gone in sorted(set(old.get("enum", ())) - set(new.get("enum", ()))):
        yield where, f"has no value `{gone}` any more"
    for name, before in old.get("properties", {}).items():
        after = new.get("properties", {}).get(name)
        if after is None:
            yield f"{where}.{name}", "is gone"
        else:
            yield from _differences(before, after, f"{where}.{name}")
    for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
        yield f"{where}.{name}", "must be there now; give it a default"
    if _shape(old) != _shape(new):
        yield where, "is of another type"
    for limit in (*_LOWER, *_UPPER):
        if _is_tighter(limit, old.get(limit), new.get(limit)):
            yield where, f"has a tighter `{limit}`"
    for many in ("anyOf", "oneOf", "allOf"):
        for before, after in zip(old.get(many, ()), new.get(many, ()), strict=False):
            yield from _differences(before, after, where)


def _shape(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What kind of value it is. Alternatives are compared by how many there are; what each is, they say themselves."""
    kept = {key: schema[key] for key in _SHAPE if key in schema}
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), dict):
            kept[key] = _shape(kept[key])
    if "prefixItems" in kept:
        kept["prefixItems"] = [_shape(item) for item in kept["prefixItems"]]
    return kept | {key: len(schema[key]) for key in ("anyOf", "oneOf", "allOf") if key in schema}


def _is_tighter(limit: str, old: float | None, new: float | None) -> bool:
    if new is None or old == new:
        return False
    return old is None or (new > old if limit in _LOWER else new < old)
