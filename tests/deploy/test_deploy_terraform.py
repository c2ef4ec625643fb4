"""Terraform itself reads the modules and runs their own tests, over a provider that is a mock: no cloud, no account."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
from manifests import DEPLOY, OVERLAYS

SOURCES: Final = DEPLOY / "terraform"
MODULES: Final = sorted(p.parent.name for p in SOURCES.glob("*/main.tf"))

#: Where a provider may lie that no registry has to be asked for; MAINSPRING_TERRAFORM_PLUGINS names another folder.
MIRRORS: Final = ("/opt/*/", "/usr/share/terraform/plugins/", "/usr/local/share/terraform/plugins/")


def mirror() -> Path | None:
    named = os.environ.get("MAINSPRING_TERRAFORM_PLUGINS")
    folders = [Path(named)] if named else [p for place in MIRRORS for p in Path("/").glob(place.strip("/"))]
    return next((p for p in folders if (p / "registry.terraform.io" / "hashicorp" / "aws").is_dir()), None)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, str]]:
    """A copy of the sources and the environment in which terraform finds its provider."""
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed")
    if (plugins := mirror()) is None:
        pytest.skip("no mirror of the aws provider; name one with MAINSPRING_TERRAFORM_PLUGINS")
    folder = tmp_path_factory.mktemp("terraform")
    shutil.copytree(SOURCES, folder / "src")
    rc = folder / "terraform.rc"
    rc.write_text(f'provider_installation {{\n  filesystem_mirror {{ path = "{plugins}" }}\n}}\n')
    return folder / "src", {
        **os.environ,
        "TF_CLI_CONFIG_FILE": str(rc),
        "CHECKPOINT_DISABLE": "1",
        "TF_IN_AUTOMATION": "1",
    }


def terraform(world: tuple[Path, Mapping[str, str]], module: str, *words: str) -> str:
    folder, environment = world
    done = subprocess.run(
        ["terraform", f"-chdir={folder / module}", *words, "-no-color"],
        env=environment, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_there_are_modules() -> None:
    assert MODULES == ["cluster", "database", "identity", "network", "objects", "platform"]
    assert all(list((SOURCES / m).glob("*.tftest.hcl")) for m in MODULES), "each has tests of its own"


@pytest.mark.timeout(300)
def test_they_stand_together(world: tuple[Path, Mapping[str, str]]) -> None:
    """The root module has all the others in it."""
    terraform(world, ".", "fmt", "-check", "-recursive")
    terraform(world, "platform", "init", "-backend=false")
    terraform(world, "platform", "validate")
    said = terraform(world, "platform", "test", "-var-file=environments/prod.tfvars")
    assert "2 passed, 0 failed" in said


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("environment", [e for e in OVERLAYS if e != "prod"])
def test_other_environments_stand(world: tuple[Path, Mapping[str, str]], environment: str) -> None:
    terraform(world, "platform", "init", "-backend=false")
    said = terraform(world, "platform", "test", f"-var-file=environments/{environment}.tfvars")
    assert "0 failed" in said


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("module", [m for m in MODULES if m != "platform"])
def test_modules_keep_what_they_promise(world: tuple[Path, Mapping[str, str]], module: str) -> None:
    terraform(world, module, "init")
    terraform(world, module, "validate")
    said = terraform(world, module, "test")
    assert " 0 failed" in said
    assert " 0 passed" not in said
