"""A pipeline out of a Python file, and the pack that is sent of it. The file is imported: it is its author's machine."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from mainspring.core import errors
from mainspring.core.contracts import pipelines
from mainspring.core.pipelines import sources
from mainspring.core.pipelines.declarations import Pipeline, Step

__all__ = ["Loaded", "load", "of"]


@dataclass(frozen=True)
class Loaded:
    """A pipeline and the file that it is in."""

    pipeline: Pipeline
    file: Path
    modules: Mapping[str, ModuleType] = field(default_factory=dict)
    """Those that were imported for it; none: they are where Python has them."""

    def pack(self, **parameters: Any) -> pipelines.Pack:
        """Build it, and put its sources beside. Errors: InvalidRequest, NotFound."""
        graph = self.pipeline.build(**parameters)
        try:
            return pipelines.Pack(sources=sources.collect(self.file), graph=graph)
        except ValidationError as error:
            said = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise errors.InvalidRequest(f"`{self.file.name}`: {said}", field=self.file.name) from error

    def step(self, function: str) -> Step[..., Any]:
        """The step of a node, as it was imported. Errors: NotFound."""
        module, _, name = function.partition(":")
        found = getattr(self.modules.get(module) or sys.modules.get(module), name, None)
        if not isinstance(found, Step):
            raise errors.NotFound(
                f"`{function}` is no step at the outermost level of its file; move it there",
                resource="step",
                name=function,
            )
        return found


def load(file: Path, name: str = "") -> Loaded:
    """The pipeline called `name` in a file; without a name, the only one.

    Errors: NotFound; InvalidRequest for a file that does not import, with its own error, or has several.
    """
    module = _import(file.absolute())
    found = {p.name: p for p in vars(module).values() if isinstance(p, Pipeline)}
    found = {n: p for n, p in found.items() if p.function.__module__ == module.__name__}
    if not name and len(found) > 1:
        raise errors.InvalidRequest(
            f"`{file.name}` has pipelines {', '.join(f'`{n}`' for n in sorted(found))}; say which with `--pipeline`",
            field="pipeline",
        )
    chosen = found.get(name) if name else next(iter(found.values()), None)
    if chosen is None:
        raise errors.NotFound(
            f"`{file.name}` has no pipeline{f' `{name}`' if name else ''}; decorate a function with `@pipeline`",
            resource="pipeline",
            name=name or file.name,
            did_you_mean=tuple(sorted(found)),
        )
    return Loaded(chosen, file.absolute(), _last.modules)


def of(pipeline: Pipeline) -> Loaded:
    """A pipeline that is imported already. Errors: InvalidRequest if it is in no file, or not at its folder's root."""
    module = sys.modules.get(pipeline.function.__module__)
    place = getattr(module, "__file__", None)
    if place is None:
        raise errors.InvalidRequest(
            f"pipeline `{pipeline.name}` is in no file, so nobody can tell what its steps are made of; put it into one and"
            " import it",
            field=pipeline.name,
        )
    file = Path(place)
    return load(file, pipeline.name) if pipeline.function.__module__ == "__main__" else Loaded(pipeline, file)


def _import(file: Path) -> Any:
    if not file.is_file():
        raise errors.NotFound(
            f"no file `{file}`; name the file that has the pipeline", resource="file", name=str(file)
        )
    name, folder = file.stem, str(file.parent)
    if not name.isidentifier():
        raise errors.InvalidRequest(
            f"`{file.name}` cannot be imported by its name; use letters, digits and `_`", field=file.name
        )
    _forget_last()
    if name in sys.modules:
        raise errors.InvalidRequest(
            f"`{file.name}` has the name of a module that Python has already; rename it", field=file.name
        )
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None  # a `.py` file always has both
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, folder)
    _last.folder, before = folder, set(sys.modules)
    # Bytecode beside the file would be a change of its repository, and older than an edit within the same second.
    wrote, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
        _last.modules = _local_modules(file)
    # The file's own mistake, whatever it is.
    except Exception as error:
        _last.modules = {
            n: m for n, m in sys.modules.items() if n not in before and _is_below(m, file.parent)
        }
        _last.modules[name] = module
        _forget_last()
        if isinstance(error, errors.MainspringError):
            raise
        raise errors.InvalidRequest(
            f"`{file.name}` does not import: {type(error).__name__}: {error}; mend it", field=file.name
        ) from error
    finally:
        sys.dont_write_bytecode = wrote
    return module


def _is_below(module: ModuleType, folder: Path) -> bool:
    place = Path(getattr(module, "__file__", None) or "/")
    return place.is_relative_to(folder) and "site-packages" not in place.parts


def _local_modules(file: Path) -> dict[str, ModuleType]:
    """The modules that were imported for a file out of its own folder, itself among them."""
    places = {file.parent.resolve() / path for path in sources.collect(file)}
    return {
        name: module
        for name, module in list(sys.modules.items())
        if (place := getattr(module, "__file__", None)) and Path(place).resolve() in places
    }


def _forget_last() -> None:
    """Another file may have modules of the same names; those that hold them already keep them."""
    for name in _last.modules:
        sys.modules.pop(name, None)
    if _last.folder in sys.path:
        sys.path.remove(_last.folder)
    _last.modules, _last.folder = {}, ""


@dataclass
class _Last:
    """What was imported for the file that was loaded last. One thread loads at a time."""

    modules: dict[str, ModuleType] = field(default_factory=dict)
    folder: str = ""


_last = _Last()
