"""What `mainspring new` writes reads like what we write ourselves, and says nothing that is not there."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import source_tree

engine = import_module("mainspring.platform.templates.engine")


@pytest.mark.parametrize("template", engine.names())
def test_made_projects_are_formatted_and_lint_clean(tmp_path: Path, template: str) -> None:
    folder = tmp_path / "p"
    given = {"name": "late-flights", "owner": "eva@example.org"}
    engine.write(engine.plan(engine.find(template), given), folder)
    ruff = str(Path(sys.executable).with_name("ruff"))
    for command in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        done = subprocess.run([ruff, *command, "."], cwd=folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout


def test_every_file_of_the_templates_is_used() -> None:
    used = {source for name in engine.names() for source in engine.find(name).files.values()}
    there = {p.relative_to(engine.FOLDER).as_posix() for p in engine.FOLDER.rglob("*.tmpl")}
    assert there == used


def test_the_documents_name_every_template() -> None:
    text = (source_tree.ROOT / "docs" / "templates.md").read_text()
    assert [name for name in engine.names() if f"`{name}`" not in text] == []
