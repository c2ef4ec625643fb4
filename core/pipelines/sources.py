"""The code of steps: which files a pipeline is made of, and which definitions in them a step comes down to.

Files are read, never imported. A step is what its function says and whatever it names, in its file and in local modules,
at however many removes: an edited helper, constant or class makes another step, an edited neighbour does not. Comments,
white space and the arguments of `@step` are no part of it. What code finds by another way than its names
(`globals()["f"]`, a data file beside it) is not seen; `@step(version=...)` says such changes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from mainspring.core import canonical, errors
from mainspring.core.contracts import pipelines

__all__ = ["code_of", "collect"]

#: A definition: the path of its file, and its name; empty: the whole file.
_Place: TypeAlias = tuple[str, str]
_Defining: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
#: In the place of a name: what takes effect when a file is imported, whoever asks for what of it.
_ALWAYS: Final = "(on import)"


def collect(file: Path) -> dict[str, str]:
    """The text of `file` and of all that it imports out of its folder, by relative path, sorted.

    Errors: NotFound; InvalidRequest for what is no Python, for a link that leads out of the folder, and for too much.
    """
    root = file.resolve().parent
    found: dict[str, str] = {}
    waiting = [file.name]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found[path] = _read(root, path)
        if len(found) > pipelines.MAX_SOURCES:
            raise errors.InvalidRequest(
                f"`{file.name}` imports more than {pipelines.MAX_SOURCES} files of its folder; install them as a package",
                field=file.name,
            )
        names = {name for name, _ in _imports(_parse(path, found[path]), path)}
        waiting += [one for name in names for one in _files_of(name) if (root / one).is_file()]
    return dict(sorted(found.items()))


def code_of(sources: Mapping[str, str], function: str) -> dict[str, str]:
    """What a step's function (`module:name`) comes down to: digests by `path:name`, of whole files by `path`.

    Errors: NotFound if there is no such function; InvalidRequest for what is no Python.
    """
    module, _, name = function.partition(":")
    here = next((path for path in _own_files(module) if path in sources), None)
    if here is None or name not in _File(sources, here).defined:
        raise errors.NotFound(
            f"there is no function `{name}` in module `{module}`; build the pipeline again",
            resource="step",
            name=function,
        )
    found: dict[str, str] = {}
    files: dict[str, _File] = {}
    waiting: list[_Place] = [(here, name)]
    seen: set[_Place] = set()
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        path, name = place
        file = files.setdefault(path, _File(sources, path))
        digest = file.digest_of(name)
        if digest:
            found[f"{path}:{name}" if name else path] = digest
        waiting += file.needed_by(name)
    return dict(sorted(found.items()))


class _File:
    """One source, by what it defines at its outermost level."""

    def __init__(self, sources: Mapping[str, str], path: str) -> None:
        self._sources, self._path = sources, path
        self._tree = _parse(path, sources[path])
        self.defined: dict[str, list[ast.stmt]] = {}
        self._imported: dict[str, list[_Place]] = {}
        self._star: list[_Place] = []
        for statement in self._tree.body:
            self._sort(statement)

    def _sort(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            self._sort_import(statement)
        elif isinstance(statement, _Defining):
            self.defined.setdefault(statement.name, []).append(statement)
        elif names := _assigned(statement):
            for name in names:
                self.defined.setdefault(name, []).append(statement)
        elif not (_is_docstring(statement) or _is_main_block(statement)):
            self.defined.setdefault(_ALWAYS, []).append(statement)

    def _sort_import(self, statement: ast.Import | ast.ImportFrom) -> None:
        for alias in statement.names:
            if isinstance(statement, ast.Import):
                bound, places = alias.asname or alias.name.partition(".")[0], self._modules(alias.name)
            else:
                bound = alias.asname or alias.name
                places = self._member(_absolute(statement, self._path), alias.name)
            if alias.name == "*":
                self._star += places
            self._imported.setdefault(bound, []).extend(places)

    def _member(self, base: str, name: str) -> list[_Place]:
        """`from base import name`: a module of that name, or what `base` has by that name."""
        dotted = f"{base}.{name}" if base else name
        if any(path in self._sources for path in _own_files(dotted)):
            return self._modules(dotted)
        places = self._modules(base)
        own = [path for path in _own_files(base) if path in self._sources]
        return [p for p in places if p[0] not in own] + [(path, "" if name == "*" else name) for path in own]

    def _modules(self, dotted: str) -> list[_Place]:
        return [(path, "") for path in _files_of(dotted) if path in self._sources]

    def _is_known(self, name: str) -> bool:
        return name in self.defined or name in self._imported

    def digest_of(self, name: str) -> str:
        """Empty for what is only passed on from another file."""
        # By a name that we do not find, it may be anything of the file.
        nodes = self.defined.get(name, []) if self._is_known(name) else self._tree.body
        nodes = [node for node in nodes if not _is_main_block(node)]
        return canonical.digest([_text(node) for node in nodes]) if nodes else ""

    def needed_by(self, name: str) -> Iterator[_Place]:
        """What a definition names, one remove away."""
        if not self._is_known(name):
            for dotted, _ in _imports(self._tree, self._path):
                yield from self._modules(dotted)
            return
        yield from self._imported.get(name, ())
        yield from self._star
        if _ALWAYS in self.defined:
            yield self._path, _ALWAYS
        for node in self.defined.get(name, ()):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Name):
                    yield from self._imported.get(inner.id, ())
                    if inner.id in self.defined:
                        yield self._path, inner.id
            for dotted, _ in _imports(node, self._path):
                yield from self._modules(dotted)


def _read(root: Path, path: str) -> str:
    file = root / path
    if not file.resolve().is_relative_to(root):
        raise errors.InvalidRequest(f"`{path}` is a link out of its folder; copy it there", field=path)
    try:
        return file.read_text()
    except FileNotFoundError as error:
        raise errors.NotFound(
            f"no file `{file}`; name the file that has the pipeline", resource="file", name=str(file)
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise errors.InvalidRequest(f"`{file}` cannot be read: {error}; write UTF-8", field=path) from error


def _parse(path: str, text: str) -> ast.Module:
    try:
        return ast.parse(text, path)
    except (SyntaxError, ValueError) as error:
        raise errors.InvalidRequest(f"`{path}` is no Python: {error}; correct it", field=path) from error


def _imports(tree: ast.AST, path: str) -> Iterator[tuple[str, ast.stmt]]:
    """The modules that it may import, of `from a import b` both `a` and `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, path)
            if base:
                yield base, node
            for alias in node.names:
                yield (f"{base}.{alias.name}" if base else alias.name), node


def _absolute(statement: ast.ImportFrom, path: str) -> str:
    """The module that it names, relative ones resolved from the file's place."""
    base = statement.module or ""
    if not statement.level:
        return base
    package = path.split("/")[:-1]
    kept = package[: len(package) - statement.level + 1]
    return ".".join([*kept, *([base] if base else [])])


def _own_files(dotted: str) -> list[str]:
    """Where a module may be."""
    path = dotted.replace(".", "/")
    return [f"{path}.py", f"{path}/__init__.py"] if path and "*" not in path else []


def _files_of(dotted: str) -> list[str]:
    """The files that are imported for a module: those of its packages, outermost first, and its own."""
    parts = dotted.split(".")
    above = ["/".join(parts[:n]) + "/__init__.py" for n in range(1, len(parts))]
    return [*above, *_own_files(dotted)]


def _assigned(statement: ast.stmt) -> list[str]:
    """The names that a statement binds, and nothing else; none for what does more."""
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
        targets = [statement.target]
    else:
        return []
    names: list[str] = []
    for target in targets:
        for inner in target.elts if isinstance(target, ast.Tuple | ast.List) else [target]:
            if not isinstance(inner, ast.Name):
                return []
            names.append(inner.id)
    return names


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _is_main_block(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test)


def _text(node: ast.stmt) -> str:
    """As it is told from another: without places in the file, and of a step without what `@step` is given."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        node = ast.parse(ast.unparse(node)).body[0]  # a copy
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        node.decorator_list = [d for d in node.decorator_list if not _is_step(d)]
    return ast.dump(node)


def _is_step(decorator: ast.expr) -> bool:
    named = decorator.func if isinstance(decorator, ast.Call) else decorator
    return ast.unparse(named).rpartition(".")[2] == "step"
