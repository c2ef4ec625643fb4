"""Models and what endpoints do with them: what trainings made, who answers now, and what is answered."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from mainspring.core.client.api.waiting import Connection
from mainspring.core.contracts import control, idling, prediction


class Served(Connection):
    """What serving says is asked by the control API, with the caller's own token."""

    def models(self, *, project: str = "", before: str = "", limit: int = 50) -> control.Page:
        """Versions that trainings made or that were imported, newest first; items are `control.ModelVersionView`."""
        return self._get("/api/v1/models", control.Page, project=project, before=before, limit=limit)

    def each_model(self, *, project: str = "") -> Iterator[control.ModelVersionView]:
        """All of them, newest first, a page at a time."""
        before = ""
        while True:
            page = self.models(project=project, before=before, limit=200)
            for item in page.items:
                yield control.ModelVersionView.model_validate(item)
            if not (before := page.next):
                return

    def import_model(self, project: str, asked: control.ModelImport) -> control.ModelVersionView:
        """Put an imported bundle among the project's models; again, and nothing changes but for a version that it had not."""
        return self._post(f"/api/v1/projects/{quote(project)}/models", asked, control.ModelVersionView)

    def model(self, project: str, digest: str) -> control.ModelView:
        """With what its bundle says."""
        return self._get(f"/api/v1/models/{quote(project)}/{quote(digest)}", control.ModelView)

    def live_endpoint(self, name: str) -> control.EndpointLive:
        """Whose it is, and who answers there. That serving is away is part of the answer (`unavailable`)."""
        return self._get(f"/api/v1/endpoints/{quote(name, safe='')}/live", control.EndpointLive)

    def predict(self, name: str, asked: prediction.PredictRequest) -> prediction.PredictResponse:
        """Errors: what serving answers; DependencyDown without it."""
        path = f"/api/v1/endpoints/{quote(name, safe='')}/predict"
        return self._report(path, asked, prediction.PredictResponse)

    def explain(self, name: str, asked: prediction.PredictRequest) -> prediction.ExplainResponse:
        """As :meth:`predict`, with what each input column added."""
        path = f"/api/v1/endpoints/{quote(name, safe='')}/explain"
        return self._report(path, asked, prediction.ExplainResponse)

    def idle_endpoints(self, *, project: str = "", after: str = "", limit: int = 100) -> control.Page:
        """By name; items are `idling.IdleEndpoint`."""
        return self._get("/api/v1/idle-endpoints", control.Page, project=project, after=after, limit=limit)

    def report_idle(self, name: str, event: idling.IdleEvent) -> control.AuditView:
        """Role service. Idempotent by `event_key`."""
        path = f"/api/v1/endpoints/{quote(name, safe='')}/idle-events"
        return self._report(path, event, control.AuditView)
