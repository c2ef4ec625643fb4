"""A repository that wants things of a project, and the commands over one application."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from platform_api import Api

from mainspring.core import identity
from mainspring.core.client import control as control_client
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import session

WANTED = """
version: 1
project: flight-delay
schedules:
  skew: {every_minutes: 60, request: {sample_fraction: 0.5}}
  retention: {every_minutes: 1440, is_paused: true}
pipelines:
  - {file: jobs/nightly.py, parameters: {rows: 5}}
"""
NIGHTLY = """
from mainspring.core.pipelines import pipeline, step

@step
def load(rows: int) -> int:
    return rows

@pipeline
def nightly(rows: int = 3):
    return load(rows)
"""


class Repository:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.write("mainspring.yaml", WANTED)
        self.write("jobs/nightly.py", NIGHTLY)
        self.commit()

    def git(self, *words: str) -> str:
        who = ("-c", "user.name=ana", "-c", "user.email=ana@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(
            ["git", *who, *words], cwd=self.folder, check=True, capture_output=True, text=True, timeout=30
        )
        return done.stdout.strip()

    def write(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(exist_ok=True)
        (self.folder / name).write_text(text)

    def commit(self) -> str:
        self.git("add", "-A")
        self.git("commit", "--quiet", "--allow-empty", "-m", "as wanted")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture
def developer(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[control_client.ControlClient]:
    """The typed client over the application; commands have it, too."""

    def answer(asked: httpx.Request) -> httpx.Response:
        found = api.client.request(
            asked.method, str(asked.url), content=asked.content, headers=dict(asked.headers)
        )
        return httpx.Response(found.status_code, content=found.content, headers=dict(found.headers))

    def client(actor: str, token_file: Path | None = None) -> control_client.ControlClient:
        if token_file is not None:
            token = token_file.read_text()
        else:
            token = identity.TokenIssuer.load(next(tmp_path.rglob("tokens.json"))).token_of(actor)
        transport = httpx.MockTransport(answer)
        return control_client.ControlClient("http://testserver.local", token, transport=transport)

    monkeypatch.setattr(session, "client", client)
    with client("developer@local") as made:
        yield made


def command(*words: str, exit_code: int = 0) -> Any:
    done = CliRunner().invoke(cli.cli, ["gitops", *words, "--json"])
    assert done.exit_code == exit_code, done.output
    if exit_code:
        return done.output
    return json.loads(next(line for line in done.output.splitlines() if line.startswith("{")))["data"]


def actions(found: Any) -> dict[str, str]:
    return {item["what"]: item["action"] for item in found["items"]}
