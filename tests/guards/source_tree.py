"""The rooms' Python files and what they import, read from the source text: nothing is executed."""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("native", "core", "serving", "workflows", "platform", "bench")


@dataclass(frozen=True)
class Module:
    """One file of a room: its dotted name and every module it imports, imports inside functions included."""

    name: str
    path: Path
    imports: frozenset[str]
    late_only: frozenset[str]
    """Imports under `if TYPE_CHECKING`, which no interpreter follows."""

    @property
    def room(self) -> str:
        return self.name.split(".")[1]


def modules(root: Path = ROOT) -> dict[str, Module]:
    """Every module of every room but its tests, by dotted name. This tree is read once."""
    return dict(_this_tree()) if root == ROOT else _modules(root)


@functools.cache
def _this_tree() -> dict[str, Module]:
    return _modules(ROOT)


def _modules(root: Path) -> dict[str, Module]:
    found = {}
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if {"tests", "skeleton", "node_modules"} & set(parts):
                continue
            if parts[-1] == "__init__":
                parts = parts[:-1]
            name = ".".join(("mainspring", *parts))
            found[name] = read(name, path)
    return found


def read(name: str, path: Path) -> Module:
    """One module from its text."""
    tree = ast.parse(path.read_text(), str(path))
    typing_only: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            typing_only.update(child for statement in node.body for child in ast.walk(statement))
    imports: set[str] = set()
    late: set[str] = set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        target = late if node in typing_only else imports
        if isinstance(node, ast.Import):
            target.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            target.add(base)
            target.update(f"{base}.{alias.name}" for alias in node.names)
    return Module(name, path, frozenset(imports), frozenset(late))


def edges(tree: dict[str, Module]) -> dict[str, set[str]]:
    """Module -> modules of ours that it imports. A package that is imported for a submodule is no edge of its own."""
    graph: dict[str, set[str]] = {}
    for module in tree.values():
        ours = {i for i in module.imports if i in tree and i != module.name}
        graph[module.name] = {i for i in ours if not any(o.startswith(i + ".") for o in ours)}
    return graph


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Every strongly connected group of more than one module (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = []
            while True:
                group.append(stack.pop())
                if group[-1] == node:
                    break
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found
