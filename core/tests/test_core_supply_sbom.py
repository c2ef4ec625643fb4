"""A bill of materials that the standard's own library reads, the same bytes each time, with licences as packages say them."""

import importlib.metadata
import json
from pathlib import Path

import pytest
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from mainspring.core import errors
from mainspring.core.supply import environment, sbom

PACKAGES = (
    environment.Package("numpy", "2.4.0", "BSD-3-Clause"),
    environment.Package("oldie", "1.0", "", ("MIT License", "Apache Software License")),
    environment.Package("silent", "0.1"),
    environment.Package("torch", "2.10.0+cpu", "BSD-3-Clause"),
)
INPUTS = (
    sbom.Input("training-set", "sha256:" + "a" * 64, "label delayed"),
    sbom.Input("plan", "sha256:" + "b" * 64),
)


def render() -> bytes:
    return sbom.render("flight-delay", "run_1", INPUTS, PACKAGES, "3.11.9")


def test_the_standard_s_library_reads_what_is_in_it() -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(render().decode()) is None
    bill = Bom.from_json(json.loads(render()))  # type: ignore[attr-defined]
    found = {c.name: c for c in bill.components}
    assert set(found) == {"numpy", "oldie", "silent", "torch", "training-set", "plan", "python"}
    assert str(found["torch"].purl) == "pkg:pypi/torch@2.10.0%2Bcpu"
    assert {h.content for h in found["training-set"].hashes} == {"a" * 64}
    assert bill.metadata.component is not None and bill.metadata.component.name == "flight-delay"


def test_it_is_the_same_bytes_and_reads_back() -> None:
    assert render() == render()
    assert sbom.packages_of(render(), "x") == PACKAGES


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"bomFormat":"SPDX","components":[]}', b'{"bomFormat":"CycloneDX"}']
)
def test_what_is_no_bill_is_refused(data: bytes) -> None:
    with pytest.raises(errors.CorruptArtifact, match="no CycloneDX bill"):
        sbom.packages_of(data, "x")


def test_what_is_installed_here() -> None:
    found = {p.name: p for p in environment.packages()}
    assert found["pydantic"].version == importlib.metadata.version("pydantic")
    assert found["pydantic"].expression == "MIT"
    assert list(environment.packages()) == sorted(environment.packages())
    bill = sbom.render("m", "r", (), environment.packages(), environment.python_version())
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill.decode()) is None
    assert sbom.packages_of(bill, "x") == environment.packages()


def test_the_commit_of_a_source_tree(tmp_path: Path) -> None:
    assert environment.commit_of(tmp_path) == ""
    git, commit = tmp_path / ".git", "c" * 40
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert environment.commit_of(tmp_path / "deep" / "er") == ""
    (git / "packed-refs").write_text(f"# pack-refs\n{commit} refs/heads/main\n")
    assert environment.commit_of(tmp_path / "deep" / "er") == commit
    (git / "refs" / "heads" / "main").write_text("d" * 40 + "\n")
    assert environment.commit_of(tmp_path) == "d" * 40
    (git / "HEAD").write_text("e" * 40 + "\n")
    assert environment.commit_of(tmp_path) == "e" * 40
    tree = tmp_path / "tree"
    (git / "worktrees" / "tree").mkdir(parents=True)
    tree.mkdir()
    (tree / ".git").write_text(f"gitdir: {git / 'worktrees' / 'tree'}\n")
    (git / "worktrees" / "tree" / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "worktrees" / "tree" / "commondir").write_text("../..\n")
    assert environment.commit_of(tree) == "d" * 40
    (git / "HEAD").write_text("not a commit\n")
    assert environment.commit_of(tmp_path) == ""
