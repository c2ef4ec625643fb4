"""A bad candidate: signed, right and far too slow; deployed as any other, and gone before many have met it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from mainspring.core import errors, settings
from mainspring.core.client import control as control_client
from mainspring.core.client import serving as serving_client
from mainspring.core.contracts import control, deployment, prediction, training
from mainspring.core.features import replay
from mainspring.core.models import bundle, signing
from mainspring.core.projects import ReplaySet
from mainspring.platform.demo import callers, follow, oversized, summary

__all__ = ["questions", "roll_back"]

#: Asked before the bad candidate comes.
_BEFORE: Final = 100


def questions(replay_set: ReplaySet) -> list[prediction.PredictRequest]:
    """The replayed questions once more, each as of its own time."""
    return [
        prediction.PredictRequest(entities=[entity], as_of=step.as_of)
        for step in replay.steps(replay_set)
        for entity in step.entities
    ]


def make(s: settings.Settings, digest: str) -> bundle.Bundle:
    """The oversized bundle of `digest`, signed with the platform's own key. Errors: those of the store."""
    store = bundle.BundleStore(s.serving.bundle_dir)
    opened = store.open(digest, signing.TrustedKeys.load(s.serving.trusted_keys_dir))
    return oversized.write(store, opened, signing.ensure_key(s.models.signing_key))


def roll_back(
    asked: Sequence[prediction.PredictRequest],
    *,
    bad: bundle.Bundle,
    good: str,
    endpoint: str,
    developer: control_client.ControlClient,
    serving: serving_client.ServingClient,
    timeout_seconds: float = 120.0,
) -> summary.RolledBack:
    """Deploy `bad` where `good` is stable while callers go on asking, and say what the judge and the callers saw.

    Errors: JobFailed if it is not rolled back; InvariantViolated if any but `good` answers afterwards; those of the run.
    """
    with callers.Callers(endpoint, asked, serving) as asking:
        asking.ask_more(min(len(asked), _BEFORE))
        run = developer.create_run(
            control.RunCreate(
                project=bad.manifest.project,
                kind=control.RunKind.DEPLOY,
                endpoint=endpoint,
                bundle_digest=bad.digest,
            )
        )
        ended = follow.wait(
            run.run_id,
            developer=developer,
            timeout_seconds=timeout_seconds,
            wanted=training.Stage.ROLLED_BACK,
        )
    met, others = asking.of(bad.digest), asking.of(good)
    # A caller sticks to a bundle: whoever had met the bad one is asked for again.
    again = {serving.predict(endpoint, answer.request).model_version for answer in met}
    traffic = serving.endpoint(endpoint).traffic
    if (traffic.stable, traffic.canary) != (good, None) or again - {good}:
        raise errors.InvariantViolated(
            f"bundle `{bad.digest}` was rolled back and `{good}` is not alone: {sorted(again)}, {traffic.model_dump_json()}",
            where="platform.demo.rollback",
        )
    result = deployment.DeployResult.model_validate(ended.result)
    last = result.steps[-1].detail
    return summary.RolledBack(
        run_id=run.run_id,
        bundle=bad.digest,
        why=result.message,
        percent=int(last["percent"]),
        judged_requests=int(last["requests"]),
        p95_ratio=last["latency_ratio"],
        in_force_seconds=_in_force(developer, run.run_id).total_seconds(),
        seen_seconds=met[-1].asked_at + met[-1].seconds - met[0].asked_at if met else 0.0,
        callers_asked=asking.asked,
        callers_answered=len(met),
        callers_failed=len(asking.failures),
        callers_p95_ms=callers.p95_ms(met),
        stable_p95_ms=callers.p95_ms(others),
    )


def _in_force(developer: control_client.ControlClient, run_id: str) -> timedelta:
    """From its first share of traffic to the way back, by the audit log. Errors: InvariantViolated."""
    at = {row["action"]: row["at"] for row in reversed(_on_record(developer, run_id))}
    try:
        begun, ended = (
            datetime.fromisoformat(at[action]) for action in ("endpoint.traffic.set", "endpoint.rollback")
        )
    except KeyError as error:
        raise errors.InvariantViolated(
            f"`{error.args[0]}` of run `{run_id}` is not on record", where="platform.demo.rollback"
        ) from error
    return ended - begun


def _on_record(developer: control_client.ControlClient, run_id: str) -> list[dict[str, Any]]:
    """The run's rows of the audit log, in their order."""
    found: list[dict[str, Any]] = []
    page = developer.audit()
    while True:
        found += [row for row in page.items if row["resource"] == f"run/{run_id}"]
        if not page.next:
            return found
        page = developer.audit(after=page.next)
