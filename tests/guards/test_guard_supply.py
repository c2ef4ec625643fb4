"""What we ship asks for no package under a licence that we deny, and no name in a registry decides what serves."""

from __future__ import annotations

import ast
import importlib.metadata
import tomllib

import source_tree
from packaging import requirements

from mainspring.core.supply import environment, gates


def closure(names: list[str]) -> set[str]:
    """Every distribution that is installed with these, by its normalised name; extras that nobody asked for are left out."""
    found: set[str] = set()
    todo = [requirements.Requirement(name) for name in names]
    while todo:
        wanted = todo.pop()
        try:
            asked = map(requirements.Requirement, importlib.metadata.requires(wanted.name) or [])
        except importlib.metadata.PackageNotFoundError:
            continue  # of an extra or a platform that is not this one
        found.add(environment.normalised(wanted.name))
        extras = wanted.extras or {""}
        needed = [
            r for r in asked if r.marker is None or any(r.marker.evaluate({"extra": e}) for e in extras)
        ]
        todo += [r for r in needed if environment.normalised(r.name) not in found]
    return found


def test_nothing_that_the_wheel_asks_for_is_under_a_denied_licence() -> None:
    project = tomllib.loads((source_tree.ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    asked = [
        *project["dependencies"],
        *(r for extra in extras for r in extra if not r.startswith("mainspring")),
    ]
    shipped = closure(asked)
    assert {"pydantic", "cryptography", "torch", "ray", "mlflow"} <= shipped and len(shipped) > 80
    packages = [p for p in environment.packages() if p.name in shipped]
    rules = gates.Licences()
    denied = {p.name for p in packages if gates.denied_licence(p, rules.deny)}
    # An exception that is not needed any more is not one.
    assert denied == {environment.normalised(name) for name in rules.allow_packages}


def readers_of_aliases(tree: dict[str, source_tree.Module]) -> list[str]:
    found = []
    for module in tree.values():
        for node in ast.walk(ast.parse(module.path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("by_alias", "get_model_version_by_alias"):
                found.append(module.path.relative_to(source_tree.ROOT).as_posix())
    return sorted(set(found))


def test_an_alias_in_the_registry_decides_nothing() -> None:
    """Whoever may write to the registry moves `champion` as he likes: bundles are deployed by digest, and nobody reads a name."""
    assert readers_of_aliases(source_tree.modules()) == ["core/models/mlflow_adapter.py"]
