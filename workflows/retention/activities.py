"""The retention's side effects: it removes files, and leaves a report of their names."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from temporalio import activity

from mainspring.core import canonical, durable, errors, settings, workspace
from mainspring.core import retention as kept
from mainspring.core.contracts import base, retention
from mainspring.workflows.retention import messages
from mainspring.workflows.training.data_activities import in_thread

__all__ = ["RetentionActivities"]

_LOG: Final = logging.getLogger(__name__)


class RetentionActivities:
    """Logs are where serving writes them, on the same machine or a mounted one."""

    def __init__(self, in_force: settings.Settings) -> None:
        self._settings = in_force

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.remove]

    @activity.defn(name=messages.REMOVE)
    async def remove(self, request: retention.RetentionRequest) -> retention.RetentionOutcome:
        return await in_thread(lambda: self._remove(request))

    def _remove(self, request: retention.RetentionRequest) -> retention.RetentionOutcome:
        space = workspace.Workspace(self._settings.stack.state_dir, request.project, request.sample_fraction)
        serving, now = self._settings.serving, base.utc_now()
        places = kept.Places(
            serving.predictions_dir, request.endpoints, serving.reads_dir, request.views, space.root
        )
        found = kept.sort(kept.items(places, request.days), request.days, request.holds, now=now)
        report = space.root / "retention" / f"{now:%Y%m%dT%H%M%S%f}.json"
        report.parent.mkdir(parents=True, exist_ok=True)
        # Before anything is gone: a crash in the middle must not leave files missing of which nothing tells.
        durable.replace_file(report, canonical.dumps(_report(request, found)).decode())
        try:
            taken = {item.path: item.size() if request.is_dry else kept.remove(item) for item in found.old}
            if not request.is_dry:
                for folder in space.root.glob("*.quarantine"):
                    kept.sweep(folder)
        except OSError as error:
            raise errors.DependencyDown(
                f"`{error.filename}` cannot be removed: {error.strerror}; let the worker's user remove files there",
                name="disk",
            ) from error
        kinds = tuple(
            retention.RemovedKind(
                kind=kind,
                removed=sum(i.kind is kind for i in found.old),
                bytes=sum(taken[i.path] for i in found.old if i.kind is kind),
                held=sum(i.kind is kind for i in found.held),
                kept=sum(i.kind is kind for i in found.kept),
            )
            for kind in request.days
        )
        _LOG.info("retention of `%s`: %s, see %s", request.project, kinds, report)
        return retention.RetentionOutcome(
            project=request.project, is_dry=request.is_dry, kinds=kinds, report_path=str(report)
        )


def _report(request: retention.RetentionRequest, found: kept.Sorted) -> dict[str, Any]:
    return {
        "request": request.model_dump(mode="json"),
        "removed": [str(item.path) for item in found.old],
        "held": [str(item.path) for item in found.held],
    }
