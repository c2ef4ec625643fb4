"""`tools/release.py` over a clone of this tree: a release of it verifies by command, and none is made of what is not committed."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from mainspring.core.models import signing
from mainspring.core.supply import surface
from mainspring.platform.cli import main as cli

ROOT = Path(__file__).parents[2]
VERSION = "0.1.0"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone whose changelog has a part about the version, with a file in the place of the wheel."""
    folder = tmp_path_factory.mktemp("release") / "tree"
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{ROOT}", folder], check=True, timeout=60)
    for tool in ("release.py", "release_files.py", "surface.py"):
        (folder / "tools" / tool).write_text((ROOT / "tools" / tool).read_text())
    changelog = folder / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace("## Unreleased", f"## {VERSION} - 2026-11-29", 1))
    (folder / "dist").mkdir()
    (folder / "dist" / f"mainspring-{VERSION}-cp311-abi3-linux_x86_64.whl").write_bytes(b"a wheel")
    return folder


def commit(tree: Path, why: str) -> None:
    as_somebody = ("-c", "user.name=eva", "-c", "user.email=eva@example.org", "-c", "commit.gpgsign=false")
    for words in (["add", "--all"], ["commit", "-qm", why]):
        subprocess.run(["git", *as_somebody, *words], cwd=tree, check=True, capture_output=True, timeout=60)


def release(tree: Path, key: Path, *more: str | Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, tree / "tools" / "release.py", "--key", key, *more]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def test_a_release_is_of_a_commit_and_verifies(tree: Path, tmp_path: Path) -> None:
    key = signing.ensure_key(tmp_path / "release.key")
    key.publish(tmp_path / "trusted")
    refused = release(tree, tmp_path / "release.key")
    assert (refused.returncode, "not committed" in refused.stderr) == (1, True)

    commit(tree, "the version's changes")
    done = release(tree, tmp_path / "release.key")
    assert done.returncode == 0, done.stderr
    made = tree / "dist" / f"mainspring-{VERSION}"

    asked = ["release", "verify", str(made), "--trusted", str(tmp_path / "trusted"), "--json"]
    answer = CliRunner().invoke(cli.cli, asked)
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.output)["data"]["version"] == VERSION
    bill = json.loads((made / "sbom.cdx.json").read_bytes())
    assert {"pydantic", "temporalio"} <= {c["name"] for c in bill["components"]}
    assert bill["metadata"]["component"]["type"] == "application"
    assert "mainspring" not in {c["name"] for c in bill["components"]}
    with zipfile.ZipFile(made / "histories.zip") as histories:
        assert "train_approved_and_deployed.json" in histories.namelist()
    with zipfile.ZipFile(made / "contracts.zip") as contracts:
        assert "mainspring.TrainModel.v1.json" in contracts.namelist()

    with zipfile.ZipFile(made / "surface.zip") as surfaces:
        assert "commands.json" in surfaces.namelist()

    again = release(tree, tmp_path / "release.key")
    assert (again.returncode, "made once" in again.stderr) == (1, True)
    (made / "CHANGES.md").write_text("nothing to see")
    assert CliRunner().invoke(cli.cli, asked).exit_code != 0


def test_what_bazel_made_is_signed_if_it_is_this_commit_s(tree: Path, tmp_path: Path) -> None:
    """`//release` makes its files by the same code, of the files that it declares; these are those that git has."""
    signing.ensure_key(tmp_path / "release.key")
    listed = subprocess.run(["git", "ls-files"], cwd=tree, capture_output=True, text=True, check=True).stdout
    wheel = next((tree / "dist").glob("*.whl"))
    words = ["--wheel", wheel, "--output", tmp_path / "made", *listed.splitlines()]
    subprocess.run([sys.executable, "tools/release_files.py", *words], cwd=tree, check=True, timeout=60)
    sums = subprocess.run(
        ["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path / "made", check=False
    )
    assert sums.returncode == 0
    done = release(
        tree, tmp_path / "release.key", "--made", tmp_path / "made", "--output", tmp_path / "signed"
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "signed" / wheel.name).read_bytes() == b"a wheel"

    (tmp_path / "made" / "surface.zip").write_bytes(b"another tree's")
    refused = release(
        tree, tmp_path / "release.key", "--made", tmp_path / "made", "--output", tmp_path / "no"
    )
    assert refused.returncode == 1 and "surface.zip` is not what this commit makes" in refused.stderr
    assert not (tmp_path / "no").exists()


def test_a_version_that_is_too_low_for_what_has_changed_is_none(tree: Path, tmp_path: Path) -> None:
    signing.ensure_key(tmp_path / "release.key")
    _, today = surface.read(tree / "docs" / "surface" / "next")
    before = {**today, "commands": {**today["commands"], "run undo": {}}}
    surface.write(tree / "docs" / "surface" / "released", before, VERSION)
    commit(tree, "the last release had one command more")
    refused = release(tree, tmp_path / "release.key")
    assert refused.returncode == 1 and not refused.stdout
    assert "cannot follow 0.1.0: commands: `run undo` is gone; put at least 0.2.0 into" in refused.stderr


def test_a_version_that_the_changelog_does_not_know_is_none(tree: Path, tmp_path: Path) -> None:
    signing.ensure_key(tmp_path / "release.key")
    changelog = tree / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace(f"## {VERSION}", "## Unreleased"))
    commit(tree, "not yet")
    refused = release(tree, tmp_path / "release.key")
    assert (refused.returncode, "no part about 0.1.0" in refused.stderr) == (1, True)
