"""What the tree must not hold, and what its documents promise."""

import ast
import platform
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest
import source_tree

ROOT = source_tree.ROOT

#: Files that may read the environment, and why. This list may only shrink.
ENVIRONMENT_READERS = {
    "core/settings/reading.py": "the one door",
    "native/triton/dense.py": "asks whether Triton was imported in interpreter mode, which only its variable tells",
    "core/features/feast_adapter.py": "takes back the variables that importing Feast sets for all child processes",
    "bench/native/machine.py": "records the state that a measurement ran under",
}


def test_no_first_level_init() -> None:
    assert [r for r in source_tree.ROOMS if (ROOT / r / "__init__.py").exists()] == []


def test_standard_library_platform_is_not_shadowed() -> None:
    assert Path(platform.__file__).is_relative_to(sys.base_prefix)


def imported_tests(path: Path) -> set[str]:
    """Other test files that a test file imports."""
    named = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            named.add(node.module or "")
    return {name for name in named if name.startswith("test_") and name != path.stem}


def test_what_two_tests_share_is_no_test() -> None:
    """Bazel gives a test its own file and the helpers beside it, and no other test's."""
    folders = [ROOT / "tests", *(ROOT / room for room in source_tree.ROOMS)]
    found = {p: imported_tests(p) for folder in folders for p in folder.rglob("test_*.py")}
    assert len(found) > 200
    assert {str(p.relative_to(ROOT)): sorted(names) for p, names in found.items() if names} == {}


def environment_reads(path: Path) -> list[int]:
    """Lines that touch os.environ, os.getenv or os.putenv."""
    tree = ast.parse(path.read_text())
    lines = [
        n.lineno
        for n in ast.walk(tree)
        if isinstance(n, ast.Attribute)
        and n.attr in ("environ", "getenv", "putenv")
        and ast.unparse(n.value) == "os"
    ]
    lines += [
        n.lineno
        for n in ast.walk(tree)
        if isinstance(n, ast.ImportFrom)
        and n.module == "os"
        and {a.name for a in n.names} & {"environ", "getenv"}
    ]
    return lines


def test_settings_have_one_door() -> None:
    readers = {
        m.path.relative_to(ROOT).as_posix()
        for m in source_tree.modules().values()
        if environment_reads(m.path)
    }
    assert readers - set(ENVIRONMENT_READERS) == set()


def test_the_door_guard_sees_a_read(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("import os\nfrom os import environ\nos.getenv('A')\nos.environ['B']\n")
    assert len(environment_reads(tmp_path / "x.py")) == 3


def test_packages_say_what_they_export() -> None:
    missing = []
    for module in source_tree.modules().values():
        if module.path.name != "__init__.py":
            continue
        names = [
            ast.literal_eval(n.value)
            for n in ast.parse(module.path.read_text()).body
            if isinstance(n, ast.Assign | ast.AnnAssign)
            and n.value is not None
            and "__all__" in ast.unparse(n.targets[0] if isinstance(n, ast.Assign) else n.target)
        ]
        if len(names) != 1 and ast.parse(module.path.read_text()).body[1:]:
            missing.append(f"{module.name} has no literal __all__")
            continue
        for name in names[0] if names else []:
            try:
                found = hasattr(import_module(module.name), name) or import_module(f"{module.name}.{name}")
            except ImportError:
                found = False
            if not found:
                missing.append(f"{module.name} exports `{name}`, which it has not")
    assert missing == []


def code_blocks(path: Path) -> str:
    return "\n".join(re.findall(r"```(?:bash|sh|console)\n(.*?)```", path.read_text(), re.DOTALL))


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_commands_in_documents_exist(document: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    blocks = code_blocks(ROOT / document)
    assert blocks
    assert set(re.findall(r"^make ([a-z-]+)", blocks, re.MULTILINE)) - targets == set()
    verbs = set(re.findall(r"^mainspring ([a-z-]+)", blocks, re.MULTILINE))
    if verbs:
        commands = import_module("mainspring.platform.cli.main").cli.commands
        assert verbs - set(commands) == set()


def test_paths_in_architecture_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    paths = re.findall(
        r"`((?:core|native|serving|workflows|platform|bench|tests|tools|third_party|docs)/[\w./-]*)`", text
    )
    assert len(paths) > 10
    assert [p for p in paths if not (ROOT / p).exists()] == []


def test_decisions_are_indexed() -> None:
    index = (ROOT / "docs/adr/README.md").read_text()
    assert [p.name for p in sorted((ROOT / "docs/adr").glob("0*.md")) if p.name not in index] == []


def test_the_conformance_table_of_feast_names_a_test_a_row() -> None:
    rows = [
        line.rsplit("`", 2)[1]
        for line in (ROOT / "docs" / "features.md").read_text().splitlines()
        if line.startswith("| ") and line.endswith("` |")
    ]
    tests = {
        name
        for path in (ROOT / "core" / "tests").glob("test_core_features_feast_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.M)
    }
    assert len(rows) >= 14 and set(rows) - tests == set()


def test_the_pipeline_of_the_documents_is_one(tmp_path: Path) -> None:
    loading = import_module("mainspring.core.pipelines.loading")
    (text,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/pipelines.md").read_text(), re.DOTALL)
    (tmp_path / "yearly.py").write_text(text)
    graph = loading.load(tmp_path / "yearly.py").pack(source="here").graph
    assert [node.name for node in graph.nodes] == ["months", "delays", "report", "approval", "publish"]
