"""A control API whose projects use something: whoever asks what it cost begins from here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from litestar.testing import TestClient

from mainspring.core import identity, settings
from mainspring.core.client import control as control_client
from mainspring.core.contracts import base, control
from mainspring.platform import app as control_app
from mainspring.platform.runs import launcher

ACTORS = {
    "adm": identity.Actor("root", ("admin",)),
    "dev": identity.Actor("ana", ("developer",)),
    "mia": identity.Actor("mia", ()),
    "work": identity.Actor("work", ("service",)),
}


class Api:
    def __init__(self, client: TestClient[Any]) -> None:
        self.http = client

    def call(
        self, actor: str, method: str, path: str, expect: int, body: Any = None, if_match: str = ""
    ) -> Any:
        headers = {"Authorization": f"Bearer {actor}", **({"If-Match": if_match} if if_match else {})}
        answer = self.http.request(method, f"/api/v1{path}", json=body, headers=headers)
        assert answer.status_code == expect, answer.text
        return answer.json()

    def make(self, name: str, given: dict[str, str], expect: int = 201) -> Any:
        return self.call("dev", "POST", "/projects", expect, {"name": name, "owner": "team", "tags": given})

    def change(self, name: str, expect: int, **patch: Any) -> Any:
        return self.call("adm", "PATCH", f"/projects/{name}", expect, patch, if_match="*")

    def use(
        self, project: str, key: str, hours: float = 1.0, at: datetime | None = None, **fields: Any
    ) -> control.CostView:
        began = at or base.utc_now()
        body = {
            "usage_key": key,
            "run_id": f"run_{project}",
            "project": project,
            "service": "ray-train",
            "sku": "cpu_core_hour",
            "consumed_quantity": hours,
            "consumed_unit": "core-hours",
            "started_at": began.isoformat(),
            "ended_at": (began + timedelta(hours=1)).isoformat(),
            **fields,
        }
        return control.CostView.model_validate(self.call("work", "POST", "/usage", 201, body))

    def client(self, actor: str) -> control_client.ControlClient:
        return control_client.ControlClient("http://control", actor, transport=self.http._transport)


@contextmanager
def serving(folder: Path, written: str = "") -> Iterator[Api]:
    (folder / "mainspring.toml").write_text(written)
    app = control_app.create_app(
        settings.load({}, directory=folder),
        issuer=identity.TokenIssuer(ACTORS),
        launcher=launcher.MemoryLauncher(),
    )
    with TestClient(app) as client:
        yield Api(client)
