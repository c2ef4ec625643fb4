"""What a repository wants of its project, its members and its deployments; whose signature counts, and for what."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from platform_api import Api, api, empty, launcher
from platform_gitops import NIGHTLY, Repository, actions, command, developer, repository

from mainspring.core import errors
from mainspring.core.client import control as control_client
from mainspring.core.contracts import control, deployment, pipelines
from mainspring.platform.cli import session
from mainspring.platform.gitops import checkout, document
from mainspring.platform.runs import launcher as run_launcher

__all__ = ["api", "developer", "empty", "launcher", "repository"]  # fixtures

pytestmark = [
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
    pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed"),
]

OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
WANTED = """
version: 1
project: flight-delay
about: {owner: ana@example.org, monthly_budget: 500}
members:
  ana@example.org: {"*": [viewer], dev: [developer]}
  eva@example.org: {prod: [approver]}
"""
DEPLOYED = f"{WANTED}deployments: [{{endpoint: delay, bundle: '{OLD}'}}]\n"
AS = ("--as", "admin@local")


def want(repository: Repository, text: str) -> str:
    repository.write("mainspring.yaml", text)
    return repository.commit()


def ended(api: Api, run_id: str, stage: str, result: Any = None) -> None:
    event = {"run_id": run_id, "event_key": f"{run_id}-{stage}", "action": "run.end", "actor": "wf"}
    body = {**event, "detail": {"stage": stage, "result": result or {}}}
    api.call("service", "POST", f"/api/v1/runs/{run_id}/events", 201, body)


def test_a_project_and_its_members_are_as_they_are_wanted(
    developer: control_client.ControlClient, repository: Repository, api: Api
) -> None:
    folder = str(repository.folder)
    want(repository, WANTED)
    assert actions(command("plan", folder, *AS)) == {
        "project": "change",
        "member ana@example.org": "create",
        "member eva@example.org": "create",
    }
    denied = command("apply", folder, exit_code=3)  # a developer changes no budget
    assert "project.update" in denied and developer.project("flight-delay").monthly_budget == 1.0
    command("apply", folder, *AS)
    found = developer.project("flight-delay")
    assert (found.owner, found.monthly_budget, found.description) == ("ana@example.org", 500.0, "")
    assert developer.member("flight-delay", "ana@example.org").roles == {
        "*": ["viewer"],
        "dev": ["developer"],
    }
    before = len(api.audit())
    assert set(actions(command("plan", folder)).values()) == {"none"}
    assert command("apply", folder, *AS)["items"] == [] and len(api.audit()) == before


def test_what_is_not_named_is_told_and_pruned_where_that_is_wanted(
    developer: control_client.ControlClient, repository: Repository
) -> None:
    folder = str(repository.folder)
    want(repository, WANTED)
    command("apply", folder, *AS)
    fewer = WANTED.replace("  eva@example.org: {prod: [approver]}\n", "")
    want(repository, fewer)
    assert actions(command("plan", folder))["member eva@example.org"] == "extra"
    want(repository, fewer + "prune: true\n")
    assert actions(command("apply", folder, *AS)) == {"member eva@example.org": "remove"}
    with pytest.raises(errors.NotFound):
        developer.member("flight-delay", "eva@example.org")
    want(repository, "version: 1\nproject: flight-delay\nabout: {monthly_budget: null}\nprune: true\n")
    assert actions(command("apply", folder, *AS)) == {"project": "change"}, "members are nobody's here"
    assert developer.project("flight-delay").monthly_budget is None


def test_a_repository_drops_no_legal_hold_and_places_none(
    developer: control_client.ControlClient, repository: Repository, api: Api
) -> None:
    folder, held = str(repository.folder), "/api/v1/projects/flight-delay/holds"
    scheduled = WANTED + "schedules: {retention: {every_minutes: 60, request: {%s}}}\n"
    want(repository, scheduled % "")
    command("apply", folder, *AS)
    hold = api.call("approver", "POST", held, 201, {"matter": "12", "reason": "a case"})
    case = 'holds: [{since: "2026-01-01T00:00:00Z", reason: case 13}]'
    want(repository, scheduled % case)
    assert "mainspring hold place flight-delay" in command("apply", folder, *AS, exit_code=1)
    want(repository, WANTED + "schedules: {}\nprune: true\n")
    assert actions(command("apply", folder, *AS))["schedule retention"] == "remove"
    assert api.call("developer", "GET", held, 200)["items"] == [hold]


def test_what_somebody_changed_after_the_plan_is_not_undone(
    developer: control_client.ControlClient, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(repository.folder)
    want(repository, WANTED)
    update = control_client.ControlClient.update_project

    def late(client: control_client.ControlClient, name: str, patch: Any, *, version: str) -> Any:
        theirs = control.ProjectPatch(monthly_budget=7.0)
        update(client, name, theirs, version=version)
        return update(client, name, patch, version=version)

    monkeypatch.setattr(control_client.ControlClient, "update_project", late)
    assert "was changed since" in command("apply", folder, *AS, exit_code=1)
    assert developer.project("flight-delay").monthly_budget == 7.0


def test_a_project_that_is_not_there_is_made_if_somebody_answers_for_it(
    developer: control_client.ControlClient, repository: Repository
) -> None:
    folder = str(repository.folder)
    want(repository, WANTED.replace("flight-delay", "new-one").replace("owner: ana@example.org, ", ""))
    assert "names no `owner`" in command("plan", folder, exit_code=1)
    want(repository, "version: 1\nproject: new-one\n")
    assert "no project `new-one`" in command("plan", folder, exit_code=1)
    made = WANTED.replace("flight-delay", "new-one") + "schedules: {skew: {every_minutes: 60}}\n"
    want(repository, made)
    assert actions(command("apply", folder, *AS)) == {
        "project": "create",
        "member ana@example.org": "create",
        "member eva@example.org": "create",
        "schedule skew": "create",
    }
    assert developer.project("new-one").created_by == "admin@local"
    assert set(actions(command("plan", folder)).values()) == {"none"}


def test_a_bundle_is_brought_into_service_once_and_back_again(
    developer: control_client.ControlClient,
    repository: Repository,
    launcher: run_launcher.MemoryLauncher,
    api: Api,
) -> None:
    folder = str(repository.folder)
    commit = want(repository, DEPLOYED)
    planned = command("plan", folder, *AS)
    assert actions(planned)["deployment to delay"] == "create"
    command("apply", folder, "--plan", planned["plan"], *AS)
    (first,) = launcher.started.values()
    assert isinstance(first, deployment.DeployRequest)
    assert (first.endpoint, first.bundle_digest) == ("delay", OLD)
    assert developer.run(first.run_id).cause == f"gitops: commit {commit}"
    assert actions(command("plan", folder))["deployment to delay"] == "none", "it is on its way"
    ended(api, first.run_id, "done")
    assert command("apply", folder, *AS)["items"] == []

    want(repository, DEPLOYED.replace(OLD, NEW))
    assert actions(command("apply", folder, *AS)) == {"deployment to delay": "change"}
    second = list(launcher.started)[-1]
    ended(api, second, "rolled_back")
    found = command("plan", folder)
    assert actions(found)["deployment to delay"] == "failed" and found["changes"] == 0, "not tried again"
    want(repository, DEPLOYED)
    assert actions(command("plan", folder))["deployment to delay"] == "none", "what is there is wanted"
    by_hand = api.run(kind="deploy", endpoint="delay", bundle_digest=NEW)["run_id"]
    ended(api, by_hand, "done")
    assert actions(command("apply", folder, *AS)) == {"deployment to delay": "change"}, "back again"
    assert len(launcher.started) == 4


def test_a_deployment_is_asked_of_the_policies_as_any(
    developer: control_client.ControlClient,
    repository: Repository,
    launcher: run_launcher.MemoryLauncher,
) -> None:
    want(repository, DEPLOYED)
    refused = command("apply", str(repository.folder), "--as", "approver@local", exit_code=3)
    assert "denied" in refused or "no policy permits" in refused
    assert not launcher.started


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (WANTED.replace("viewer", "owner"), "members"),
        (WANTED.replace("[viewer]", "[viewer, viewer]"), "twice"),
        (WANTED.replace('"*": [viewer]', '"*": []'), "members"),
        (WANTED.replace("500", "0"), "about.monthly_budget"),
        (WANTED.replace("owner:", "ower:"), "about.ower"),
        (DEPLOYED.replace(OLD, "latest"), "deployments.0.bundle"),
        (DEPLOYED.replace("}]", ", environment: moon}]"), "deployments.0.environment"),
        (
            DEPLOYED.replace("}]", f"}}, {{endpoint: delay, bundle: '{NEW}'}}]"),
            "endpoint `delay` is there twice",
        ),
    ],
)
def test_a_document_that_is_none_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "mainspring.yaml").write_text(text)
    with pytest.raises(errors.InvalidRequest) as caught:
        document.read(tmp_path)
    assert says in caught.value.message


class Signers:
    """SSH keys, and the file that says whose they are."""

    def __init__(self, folder: Path, repository: Repository) -> None:
        self._folder, self._repository = folder, repository
        self.allowed = folder / "allowed_signers"
        self.allowed.write_text("")
        repository.git("config", "gpg.format", "ssh")
        repository.git("config", "gpg.ssh.allowedSignersFile", str(self.allowed))

    def key(self, name: str) -> Path:
        made = self._folder / name
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(made)]
        subprocess.run(words, check=True, timeout=30)
        return made

    def allow(self, principal: str, key: Path) -> None:
        public = key.with_name(key.name + ".pub").read_text()
        self.allowed.write_text(f"{self.allowed.read_text()}{principal} {public}")

    def commit(self, key: Path) -> str:
        self._repository.git("add", "-A")
        self._repository.git(
            "-c", f"user.signingkey={key}", "commit", "--quiet", "--allow-empty", "-S", "-m", "signed"
        )
        return self._repository.git("rev-parse", "HEAD")


@pytest.fixture
def signers(tmp_path: Path, repository: Repository) -> Signers:
    folder = tmp_path / "keys"
    folder.mkdir()
    return Signers(folder, repository)


def test_only_a_signature_of_an_allowed_key_counts(
    developer: control_client.ControlClient, repository: Repository, signers: Signers
) -> None:
    folder = str(repository.folder)
    want(repository, WANTED)
    ana, stranger = signers.key("ana"), signers.key("stranger")
    signers.allow("ana@example.org", ana)
    signers.commit(stranger)
    found = checkout.here(repository.folder)
    assert (found.is_signed, found.signer) == (False, "")
    assert "no signature that git accepts" in command("apply", folder, "--signed", *AS, exit_code=3)
    commit = signers.commit(ana)
    found = checkout.here(repository.folder)
    assert (found.commit, found.is_signed, found.signer) == (commit, True, "ana@example.org")
    assert command("apply", folder, "--signed", *AS)["commit"] == commit
    repository.write("unsigned.txt", "x")
    repository.commit()
    assert not checkout.here(repository.folder).is_signed, "the newest commit counts"


def test_a_commit_that_was_changed_after_it_was_signed_has_no_signature(
    repository: Repository, signers: Signers
) -> None:
    ana = signers.key("ana")
    signers.allow("ana@example.org", ana)
    signers.commit(ana)
    raw = repository.git("cat-file", "commit", "HEAD").replace("signed", "forged")
    forged = subprocess.run(
        ["git", "hash-object", "-t", "commit", "-w", "--stdin"],
        input=raw + "\n", cwd=repository.folder, capture_output=True, text=True, check=True, timeout=30,
    ).stdout.strip()  # fmt: skip
    repository.git("reset", "--quiet", "--hard", forged)
    assert not checkout.here(repository.folder).is_signed


def test_what_a_watcher_starts_is_the_signers_and_not_his_to_decide_on(
    developer: control_client.ControlClient,
    repository: Repository,
    signers: Signers,
    launcher: run_launcher.MemoryLauncher,
    api: Api,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = str(repository.folder)
    pipeline = "pipelines: [{file: jobs/nightly.py, environment: prod}]\n"
    repository.write("jobs/nightly.py", NIGHTLY)
    want(repository, f"version: 1\nproject: flight-delay\n{pipeline}")
    key = signers.key("approver")
    signers.allow("approver@local", key)
    assert "no signature" in command("apply", folder, "--as-author", exit_code=3)
    signers.commit(key)
    # In another's name only a process speaks.
    denied = command("apply", folder, "--as-author", "--as", "admin@local", exit_code=3)
    assert "are for processes to say" in denied and not launcher.started
    member = {"roles": {"*": ["developer"]}}
    api.call("admin", "PUT", "/v1/projects/flight-delay/members/service@local", 200, member)
    command("apply", folder, "--as-author", "--as", "service@local")
    (started,) = launcher.started.values()
    assert isinstance(started, pipelines.PipelineRequest) and started.prompted_by == "approver@local"
    run = developer.run(started.run_id)
    assert (run.requested_by, run.prompted_by) == ("service@local", "approver@local")
    with session.client("approver@local") as signer, pytest.raises(errors.PolicyDenied) as caught:
        signer.decide(run.run_id, approve=True)
    assert caught.value.rule_id == "approval.four-eyes"
    with session.client("admin@local") as somebody_else:
        somebody_else.decide(run.run_id, approve=True)


def test_a_watcher_has_the_token_that_is_in_its_file_by_then(
    developer: control_client.ControlClient,
    repository: Repository,
    tmp_path: Path,
    api: Api,
) -> None:
    want(repository, WANTED)
    token = tmp_path / "token"
    token.write_text("expired")
    words = ("watch", str(repository.folder), "--folder", str(tmp_path / "watched"), "--once")
    refused = command(*words, "--token-file", str(token), exit_code=3)
    assert "token" in refused
    token.write_text(api._tokens["admin"])
    assert len(command(*words, "--token-file", str(token))["items"]) == 3


@pytest.mark.parametrize("text", ["", "two words", "\u00e9"])
def test_a_file_without_a_token_is_refused(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text(text, encoding="utf-8")
    with pytest.raises(errors.InvalidSettings, match="holds no bearer token"):
        session.client("", tmp_path / "token")
