"""What a repository wants is planned, approved and applied: once, on record with its commit, and by who may."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from platform_api import Api, api, empty, launcher
from platform_gitops import NIGHTLY, WANTED, Repository, actions, command, developer, repository

from mainspring.core import errors
from mainspring.core.client import control as control_client
from mainspring.core.contracts import pipelines, schedules
from mainspring.platform.gitops import checkout, document, plan
from mainspring.platform.runs import launcher as run_launcher

__all__ = ["api", "developer", "empty", "launcher", "repository"]  # fixtures

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

PIPELINE = 'pipeline jobs/nightly.py in dev {"rows":5}'


def test_a_commit_is_planned_applied_once_and_on_record(
    developer: control_client.ControlClient,
    repository: Repository,
    launcher: run_launcher.MemoryLauncher,
    api: Api,
) -> None:
    folder = str(repository.folder)
    planned = command("plan", folder)
    assert actions(planned) == {"schedule skew": "create", "schedule retention": "create", PIPELINE: "run"}
    assert not launcher.started, "a plan changes nothing"
    command("apply", folder, "--plan", planned["plan"])
    (started,) = launcher.started.values()
    assert isinstance(started, pipelines.PipelineRequest)
    run = developer.run(started.run_id)
    commit = repository.git("rev-parse", "HEAD")
    assert (run.cause, run.pack) == (f"gitops: commit {commit}", started.pack)
    put = [row for row in api.audit() if row["action"] == "schedule.put" and row["outcome"] == "requested"]
    assert [row["detail"]["cause"] for row in put] == [f"gitops: commit {commit}"] * 2
    kept = developer.schedule("flight-delay", schedules.Process.SKEW)
    assert (kept.every_minutes, kept.request) == (60.0, {"sample_fraction": 0.5})

    before = len(api.audit())
    assert command("apply", folder)["items"] == [] and len(launcher.started) == 1
    assert set(actions(command("plan", folder)).values()) == {"none"}
    assert len(api.audit()) == before, "what is as it is wanted is not touched"


def test_what_was_changed_by_hand_is_drift_and_what_is_not_named_is_told(
    developer: control_client.ControlClient, repository: Repository
) -> None:
    folder = str(repository.folder)
    command("apply", folder)
    by_hand = schedules.ScheduleCreate(every_minutes=5)
    retrain = schedules.ScheduleCreate(every_minutes=5, request={"endpoint": "flight-delay"})
    developer.put_schedule("flight-delay", schedules.Process.SKEW, by_hand, version="*")
    developer.put_schedule("flight-delay", schedules.Process.RETRAIN, retrain)
    found = command("plan", folder)
    changed = next(item for item in found["items"] if item["what"] == "schedule skew")
    assert (changed["action"], changed["before"]["every_minutes"], changed["after"]["every_minutes"]) == (
        "change",
        5.0,
        60.0,
    )
    assert actions(found)["schedule retrain"] == "extra"
    repository.write("mainspring.yaml", WANTED + "prune: true\n")
    repository.commit()
    assert actions(command("apply", folder)) == {"schedule skew": "change", "schedule retrain": "remove"}
    with pytest.raises(errors.NotFound):
        developer.schedule("flight-delay", schedules.Process.RETRAIN)


def test_another_plan_than_the_approved_one_is_refused(
    developer: control_client.ControlClient,
    repository: Repository,
    launcher: run_launcher.MemoryLauncher,
) -> None:
    approved = command("plan", str(repository.folder))["plan"]
    repository.write("jobs/nightly.py", NIGHTLY.replace("return rows", "return rows + 1"))
    repository.commit()
    refused = command("apply", str(repository.folder), "--plan", approved, exit_code=1)
    assert f"`{approved}` was approved" in refused and not launcher.started


def test_what_is_not_committed_or_not_signed_is_not_applied(
    developer: control_client.ControlClient, repository: Repository
) -> None:
    assert "no signature" in command("apply", str(repository.folder), "--signed", exit_code=3)
    repository.write("new.py", "")
    assert command("plan", str(repository.folder))["commit"] == ""
    assert "not committed" in command("apply", str(repository.folder), exit_code=1)


def test_a_pipeline_that_failed_is_told_and_not_run_again(
    developer: control_client.ControlClient,
    repository: Repository,
    launcher: run_launcher.MemoryLauncher,
) -> None:
    command("apply", str(repository.folder))
    (run_id,) = launcher.started
    developer.cancel(run_id)
    found = command("plan", str(repository.folder))
    assert actions(found)[PIPELINE] == "failed" and found["changes"] == 0
    repository.write("jobs/nightly.py", NIGHTLY.replace("return rows", "return rows * 1"))
    repository.commit()
    assert actions(command("apply", str(repository.folder))) == {PIPELINE: "run"}


def test_a_watcher_applies_what_is_merged_and_no_other_branch(
    developer: control_client.ControlClient,
    repository: Repository,
    tmp_path: Path,
    launcher: run_launcher.MemoryLauncher,
) -> None:
    words = ("watch", str(repository.folder), "--folder", str(tmp_path / "watched"), "--once")
    assert len(command(*words)["items"]) == 3
    repository.git("checkout", "--quiet", "-b", "feature")
    repository.write("mainspring.yaml", WANTED.replace("every_minutes: 60", "every_minutes: 30"))
    commit = repository.commit()
    assert command(*words)["items"] == []
    repository.git("checkout", "--quiet", "main")
    repository.git("merge", "--quiet", "--ff-only", "feature")
    found = command(*words)
    assert (found["commit"], actions(found)) == (commit, {"schedule skew": "change"})
    assert len(launcher.started) == 1
    gone = command("watch", str(tmp_path / "none"), "--folder", str(tmp_path / "w2"), "--once", exit_code=1)
    assert "git could not fetch" in gone


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("version: 2\nproject: flight-delay", "`version`"),
        ("project: flight-delay", "`version`: Field required"),
        (WANTED + "schedule: {}", "`schedule`: Extra"),
        (WANTED.replace("skew:", "skews:"), "schedules.skews"),
        (WANTED.replace("sample_fraction", "fraction"), "has no option `fraction`"),
        (WANTED.replace("jobs/nightly.py", "../nightly.py"), "no Python file of the repository"),
        (WANTED + "version: 1", "`version` is there twice"),
        ("a: &a [1]\nb: *a", "aliases"),
        ("a: [", "is no YAML"),
        ("!!python/object/apply:os.system [ls]", "is no YAML"),
    ],
)
def test_a_document_that_is_none_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "mainspring.yaml").write_text(text)
    with pytest.raises(errors.InvalidRequest) as caught:
        document.read(tmp_path)
    assert says in caught.value.message
    with pytest.raises(errors.NotFound):
        document.read(tmp_path / "elsewhere")


def test_names_that_git_could_take_for_options_are_refused(tmp_path: Path) -> None:
    for source, branch in (("--upload-pack=x", "main"), ("x", "-x"), ("", "main")):
        with pytest.raises(errors.InvalidRequest):
            checkout.fetch(source, branch, tmp_path / "w")
    with pytest.raises(errors.InvalidRequest, match="rev-parse"):
        checkout.here(tmp_path)


def test_a_file_that_does_not_build_changes_nothing(
    developer: control_client.ControlClient, repository: Repository, api: Api
) -> None:
    before = len(api.audit())
    for text, says in (
        ("1 / 0", "ZeroDivisionError"),
        ("import os\nos._exit(3)", "ended without a pipeline"),
        (NIGHTLY.replace("rows: int = 3", "row: int = 3"), "has no parameter `rows`"),
    ):
        repository.write("jobs/nightly.py", text)
        repository.commit()
        with pytest.raises(errors.MainspringError) as caught:
            plan.prepare(developer, checkout.here(repository.folder))
        assert says in caught.value.message
    assert len(api.audit()) == before
