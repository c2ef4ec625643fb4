"""A pipeline out of a Python file, and the pack that is sent of it. The file is imported: it is its author's machine."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
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
        found = getattr(sys.modules.get(module), name, None)
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
    return Loaded(chosen, file.absolute())


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
    _forget_others(file)
    if name in sys.modules:
        raise errors.InvalidRequest(
            f"`{file.name}` has the name of a module that Python has already; rename it", field=file.name
        )
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None  # a `.py` file always has both
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except errors.MainspringError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise errors.InvalidRequest(
            f"`{file.name}` does not import: {type(error).__name__}: {error}; mend it", field=file.name
        ) from error
    module.__dict__["__mainspring_folder__"] = folder
    return module


def _forget_others(file: Path) -> None:
    """Modules of pipelines that were loaded before, theirs and ours: each is loaded as it is now, in its own folder."""
    before = {
        folder
        for m in list(sys.modules.values())
        if (folder := vars(m).get("__mainspring_folder__")) is not None
    }
    for folder in {*before, str(file.parent)} if before else before:
        for name, module in list(sys.modules.items()):
            place = getattr(module, "__file__", None) or ""
            if Path(place).is_relative_to(folder) if place else False:
                del sys.modules[name]
        if folder in sys.path:
            sys.path.remove(folder)
