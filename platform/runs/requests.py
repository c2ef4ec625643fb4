"""What a request to start a run must have, may cost at most, and asks the policies about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import cost, errors, ids
from mainspring.core.contracts import control, training, tuning
from mainspring.core.pipelines.store import PipelineStore
from mainspring.platform import access
from mainspring.platform import plane as control_plane
from mainspring.platform.policies import questions
from mainspring.platform.runs import store

__all__ = ["CLAIM_NOTHING", "ENDS", "check_complete", "check_pipeline", "target", "wanted_nanos"]

#: What a process may start because somebody asked it to, or signed a commit that wants it.
_PROMPTED: Final = (control.RunKind.TRAIN, control.RunKind.PIPELINE, control.RunKind.DEPLOY)
#: What takes something out of use: no budget is in its way.
ENDS: Final = (control.RunKind.RETIRE, control.RunKind.RELEASE)
#: What names an endpoint that is there, if it names one.
CLAIM_NOTHING: Final = (control.RunKind.SCORE, control.RunKind.RELEASE)


def check_complete(request: control.RunCreate) -> None:
    """What its kind needs is there, and nothing else. Errors: InvalidRequest."""
    if request.kind is control.RunKind.IMPORT:
        raise errors.InvalidRequest(
            "an import is no run to start: it happens where the signing key is; use `mainspring model import FOLDER`",
            field="kind",
        )
    if request.endpoint:
        ids.check_slug(request.endpoint, "endpoint")
    if request.kind is control.RunKind.DEPLOY:
        for name in ("endpoint", "bundle_digest"):
            if not getattr(request, name):
                raise errors.InvalidRequest(f"a deployment needs `{name}`; add it", field=name)
    if request.kind is control.RunKind.PIPELINE and request.pipeline is None:
        raise errors.InvalidRequest(
            "a pipeline needs `pipeline`; send its pack, and name it", field="pipeline"
        )
    for name, kind in (
        ("tune", control.RunKind.TUNE),
        ("pipeline", control.RunKind.PIPELINE),
        ("model", control.RunKind.TRAIN),
        ("split", control.RunKind.TRAIN),
        ("on_behalf_of", control.RunKind.TRAIN),
        ("canary_percents", control.RunKind.DEPLOY),
        ("shadow_seconds", control.RunKind.DEPLOY),
        ("max_score_psi", control.RunKind.DEPLOY),
        ("max_wait_seconds", control.RunKind.DEPLOY),
    ):
        left_out = (None, "", (), 0.0, training.ModelChanges())
        if request.kind is not kind and getattr(request, name) not in left_out:
            raise errors.InvalidRequest(
                f"`{name}` goes with kind `{kind}`, not with `{request.kind}`; leave it out, or change the kind",
                field=name,
            )
    if request.prompted_by and request.kind not in _PROMPTED:
        raise errors.InvalidRequest(
            f"`prompted_by` goes with `{'`, `'.join(_PROMPTED)}`, not with `{request.kind}`; leave it out",
            field="prompted_by",
        )
    for kind, name, about, what in (
        (control.RunKind.SCORE, "score", "bundle_digest", "a batch scoring"),
        (control.RunKind.RETIRE, "retire", "bundle_digest", "the end of a bundle"),
        (control.RunKind.RELEASE, "release", "endpoint", "the release of an endpoint"),
    ):
        if request.kind is kind:
            for needed in (name, about):
                if not getattr(request, needed):
                    raise errors.InvalidRequest(f"{what} needs `{needed}`; add it", field=needed)
        elif getattr(request, name) is not None:
            raise errors.InvalidRequest(
                f"`{name}` goes with kind `{kind}`, not with `{request.kind}`; leave it out, or change the kind",
                field=name,
            )


async def check_pipeline(
    plane: control_plane.ControlPlane, connection: AsyncConnection, request: control.RunCreate
) -> None:
    """What a pipeline names is there, and is the project's own. Errors: NotFound."""
    if request.pipeline is None:
        return
    wanted = request.pipeline
    if plane.state_dir is None or not PipelineStore.of(plane.state_dir, request.project).has_pack(
        wanted.pack
    ):
        raise errors.NotFound(
            f"project `{request.project}` has no pipeline `{wanted.pack}`; send it first, as `mainspring run FILE` does",
            resource="pipeline",
            name=wanted.pack,
        )
    if wanted.resume_of and (await store.find(connection, wanted.resume_of)).project != request.project:
        raise store.unknown(wanted.resume_of)


def wanted_nanos(plane: control_plane.ControlPlane, request: control.RunCreate) -> int:
    """What is kept free for the run. A study says itself how much it may take at most."""
    if request.kind in ENDS:
        return 0
    if request.max_cost is not None:
        return cost.to_nanos(request.max_cost)
    if request.kind is control.RunKind.TUNE:
        hours = (request.tune or tuning.TuneOptions()).max_cpu_hours
        return cost.to_nanos(hours * plane.book.cpu_core_hour)
    return cost.to_nanos(plane.book.run_reservation)


def target(request: control.RunCreate, facts: Mapping[str, str | bool]) -> access.Target:
    """What the policies are asked about; `facts`: what else is known of it."""
    return access.project(
        request.project,
        request.environment,
        kind=str(request.kind),
        environment=request.environment[: questions.MAX_CHARACTERS],
        auto_approve_by=request.auto_approve_by[: questions.MAX_CHARACTERS],
        is_sample=request.sample_fraction < 1.0,
        has_cause=bool(request.cause),
        **{k: v for k in questions.NAMED_BY_PROCESSES if (v := getattr(request, k))},
        **facts,
    )
