"""A hospital: a project with five personas, and what their control API answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from litestar.testing import TestClient

from mainspring.core import identity, settings
from mainspring.core.contracts import masking as contracts
from mainspring.core.protection import masking
from mainspring.platform import app as control_app
from mainspring.platform.runs import launcher

ROLES = ("viewer", "developer", "approver", "admin", "service")
ACTORS = {name: identity.Actor(f"{name}@local", (name,)) for name in ROLES}
PLACE = "/api/v1/projects/hospital"


class World:
    def __init__(self, client: TestClient[Any], s: settings.Settings) -> None:
        self.client, self.settings = client, s

    def call(self, role: str, method: str, path: str, expect: int, body: Any = None, **params: Any) -> Any:
        headers = {"Authorization": f"Bearer {role}"} if role else {}
        answer = self.client.request(method, path, json=body, params=params, headers=headers)
        assert answer.status_code == expect, answer.text
        return answer.json()

    def catalog(self, *entries: dict[str, Any]) -> None:
        self.call("service", "PUT", "/v1/catalog/hospital", 200, {"entries": list(entries)})

    def rules(self, **params: Any) -> masking.Rules:
        found = self.call("viewer", "GET", PLACE + "/masking", 200, **params)
        section = contracts.MaskingSection.model_validate(found)
        return masking.Rules(contracts.MaskingDocument(version=1, sections=[section]))

    def open(self, role: str, expect: int, **changed: Any) -> Any:
        asked = {
            "dataset": "lake.intake",
            "column": "patient",
            "values": ["x"],
            "purpose": "care",
            "reason": "a complaint",
        }
        return self.call(role, "POST", PLACE + "/sealed:open", expect, {**asked, **changed})

    def log(self) -> list[tuple[str, str, dict[str, Any]]]:
        rows = self.call("viewer", "GET", "/api/v1/audit", 200)["items"]
        return [(r["actor"], r["outcome"], r["detail"]) for r in rows if r["action"] == "sealed.open"]


def started(tmp_path: Path) -> Iterator[World]:
    s = settings.load({}, directory=tmp_path)
    app = control_app.create_app(s, issuer=identity.TokenIssuer(ACTORS), launcher=launcher.MemoryLauncher())
    with TestClient(app, raise_server_exceptions=False) as client:
        made = World(client, s)
        made.call("developer", "POST", "/api/v1/projects", 201, {"name": "hospital", "owner": "o"})
        yield made


def view(*columns: dict[str, Any], name: str = "view.intake", kind: str = "view") -> dict[str, Any]:
    return {
        "kind": kind,
        "name": name,
        "owner": "care",
        "description": "Who came in",
        "columns": list(columns),
    }


def column(name: str, classification: str = "", **more: Any) -> dict[str, Any]:
    return {"name": name, "classification": classification, **more}
