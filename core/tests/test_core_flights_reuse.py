"""What was made is reused while nothing that made it has changed: a rule that changes is computed anew."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

from mainspring.core.features import folders
from mainspring.core.reference.flight_delay import project

_HERE, _FEATURES = Path(project.__file__).parent, Path(folders.__file__).parent

#: They move bytes and name them; no value of a feature depends on how.
_NO_RULES = {"folders", "canonical", "errors", "ports", "projects", "catalog", "contracts"}


def file_of(name: str) -> Path:
    return next(d / f"{name}.py" for d in (_HERE, _FEATURES, _FEATURES.parent) if (d / f"{name}.py").exists())


def imports(path: Path) -> set[str]:
    """The modules of ours that a file imports, by their last name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mainspring.core"):
            module = str(node.module)
            names = {a.name for a in node.names}
            is_package = module in ("mainspring.core", "mainspring.core.features") or module.endswith(
                "flight_delay"
            )
            found |= names if is_package else {module.rsplit(".", 1)[1]}
    return found - _NO_RULES


def closure(names: Iterable[str]) -> set[str]:
    open_, done = set(names), set[str]()
    while open_:
        name = open_.pop()
        done.add(name)
        open_ |= imports(file_of(name)) - done
    return done


@pytest.mark.parametrize("rules", [project._JOIN_RULES, project._FEATURE_RULES], ids=["join", "features"])
def test_every_module_that_a_step_uses_counts(rules: tuple[str, ...]) -> None:
    assert closure(rules) == set(rules)


def test_one_byte_of_a_rule_is_another_code(tmp_path: Path) -> None:
    a, b = tmp_path / "a.py", tmp_path / "b.py"
    a.write_text("x = 1\n")
    b.write_text("y = 1\n")
    before = folders.code(str(a), str(b))
    assert folders.code(str(a), str(b)) == before
    b.write_text("y = 2\n")
    assert folders.code(str(a), str(b)) != before
