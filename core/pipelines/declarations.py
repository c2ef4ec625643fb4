"""How pipelines are written.

    @step(cpus=2, memory_gib=4)
    def train(rows: Path, rate: float) -> Path: ...

    @pipeline
    def nightly(rate: float = 0.1) -> Path:
        parts = split(load())
        models = train(each(parts), rate)          # one job for each part
        return approval(best(models), role="approver")

Within `@pipeline` a call of a step runs nothing: it becomes a node of the graph, and what comes back stands for the
answer to come. Outside of one a step is the function that it was. Types are checked when the pipeline is built.
"""

from __future__ import annotations

import contextvars
import dataclasses
import functools
import inspect
import json
import typing
from collections.abc import Callable, Mapping
from typing import Any, Generic, ParamSpec, TypeVar, overload

import pydantic
from pydantic import ValidationError

from mainspring.core import canonical, errors, ids
from mainspring.core.contracts import pipelines
from mainspring.core.pipelines import hints, values

__all__ = ["Answer", "Pipeline", "Step", "approval", "each", "pipeline", "step"]

P = ParamSpec("P")
R = TypeVar("R")

_building: contextvars.ContextVar[_Builder | None] = contextvars.ContextVar("building", default=None)


class Answer:
    """What a node will have answered, while a pipeline is built. A field of a dataclass is an attribute."""

    def __init__(self, node: str, annotation: Any, path: tuple[str, ...] = ()) -> None:
        self._node, self._annotation, self._path = node, annotation, path

    def __getattr__(self, name: str) -> Answer:
        if name.startswith("_"):
            raise AttributeError(name)
        kind = self._annotation
        fields = hints.fields_of(kind) if isinstance(kind, type) and dataclasses.is_dataclass(kind) else {}
        if name not in fields:
            raise errors.InvalidRequest(
                f"the answer of `{self._node}` is a `{hints.name_of(kind)}`, which has no field `{name}`; while a"
                " pipeline is built an answer can only be passed on",
                field=f"{self._node}.{name}",
            )
        return Answer(self._node, fields[name], (*self._path, name))

    def __iter__(self) -> typing.NoReturn:
        raise self._not_yet("go through it")

    def __bool__(self) -> typing.NoReturn:
        raise self._not_yet("decide by it")

    def _not_yet(self, what: str) -> errors.InvalidRequest:
        return errors.InvalidRequest(
            f"the answer of `{self._node}` is not there while the pipeline is built, so it cannot {what}; do it in a"
            " step, or map a step over it with `each(...)`",
            field=self._node,
        )


@dataclasses.dataclass(frozen=True)
class _Each:
    answer: Answer


class Step(Generic[P, R]):
    """A function that can be a node of a pipeline."""

    def __init__(self, function: Callable[P, R], settings: Mapping[str, Any]) -> None:
        self.function = function
        self.name = function.__name__
        self._settings = settings
        self._signature = inspect.signature(function)
        functools.update_wrapper(self, function)

    @functools.cached_property
    def types(self) -> tuple[dict[str, Any], Any]:
        """Of the parameters by name, and of the answer. Errors: InvalidRequest."""
        return hints.of_function(self.function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        builder = _building.get()
        if builder is None:
            return self.function(*args, **kwargs)
        # Stands for an R: a type checker sees what the steps say to each other.
        return typing.cast(R, builder.add_step(self, args, kwargs))

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by name, defaults put in. Errors: InvalidRequest."""
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise errors.InvalidRequest(
                f"step `{self.name}`: {error}; it is `{self.name}{self._signature}`", field=self.name
            ) from error
        bound.apply_defaults()
        return dict(bound.arguments)

    def node(self, **more: Any) -> pipelines.Node:
        function = f"{self.function.__module__}:{self.function.__qualname__}"
        return pipelines.Node(function=function, gives=hints.name_of(self.types[1]), **self._settings, **more)


@overload
def step(function: Callable[P, R], /) -> Step[P, R]: ...
@overload
def step(
    *,
    cpus: float = ...,
    gpus: float = ...,
    memory_gib: float = ...,
    max_memory_gib: float | None = ...,
    spot: bool = ...,
    retries: int = ...,
    retry_on: tuple[str | type[Exception], ...] = ...,
    retry_pause_seconds: float = ...,
    timeout_seconds: float = ...,
    cache: bool = ...,
    version: str = ...,
    secrets: tuple[str, ...] = ...,
) -> Callable[[Callable[P, R]], Step[P, R]]: ...
def step(
    function: Callable[P, R] | None = None,
    /,
    *,
    cpus: float = 1.0,
    gpus: float = 0.0,
    memory_gib: float = 1.0,
    max_memory_gib: float | None = None,
    spot: bool = False,
    retries: int = 0,
    retry_on: tuple[str | type[Exception], ...] = (ConnectionError, TimeoutError),
    retry_pause_seconds: float = 5.0,
    timeout_seconds: float = 3600.0,
    cache: bool = True,
    version: str = "",
    secrets: tuple[str, ...] = (),
) -> Step[P, R] | Callable[[Callable[P, R]], Step[P, R]]:
    """A step: `@step`, or `@step(...)` with what it needs. See `contracts.pipelines` for what each word means.

    `cache=False`: it has an effect beyond its answer, or another answer each time. `secrets`: what `mainspring secret set` has of
    the project, by name; the step reads them with `secret(name)`. Errors: InvalidRequest.
    """
    try:
        settings = {
            "resources": pipelines.Resources(
                cpus=cpus, gpus=gpus, memory_gib=memory_gib, max_memory_gib=max_memory_gib, spot=spot
            ),
            "retry": pipelines.Retry(
                times=retries,
                on=tuple(e if isinstance(e, str) else e.__name__ for e in retry_on),
                pause_seconds=retry_pause_seconds,
            ),
            "timeout_seconds": timeout_seconds,
            "is_cached": cache,
            "version": version,
            "secrets": tuple(ids.check_slug(name, "secret") for name in secrets),
        }
    except ValidationError as error:
        raise _invalid("@step", error) from error

    def made(inner: Callable[P, R]) -> Step[P, R]:
        return Step(inner, settings)

    return made if function is None else made(function)


def each(answer: list[R]) -> R:
    """Map the step that takes this over the items of a list that another step answers: a job for each item."""
    if not isinstance(answer, Answer):
        raise errors.InvalidRequest(
            f"`each` is given a `{type(answer).__name__}`; it maps a step over the answer of another step",
            field="each",
        )
    return typing.cast(R, _Each(answer))


def approval(
    value: R,
    *,
    role: str = "approver",
    count: int = 1,
    timeout_seconds: float = 86_400.0,
    name: str = "approval",
) -> R:
    """Let a value go on once `count` different people of that role said yes; never who started the run.

    No decision in time is a rejection. Errors: InvalidRequest.
    """
    builder = _building.get()
    if builder is None or not isinstance(value, Answer):
        raise errors.InvalidRequest(
            "`approval` stands in a pipeline and is given the answer of a step", field="approval"
        )
    try:
        asked = pipelines.Approval(role=role, count=count, timeout_seconds=timeout_seconds)
    except ValidationError as error:
        raise _invalid("approval", error) from error
    return typing.cast(R, builder.add_approval(value, asked, name))


class Pipeline:
    """A function that puts steps together. Calling it with its parameters builds the graph."""

    def __init__(self, function: Callable[..., Any], project: str = "") -> None:
        self.function, self.project = function, project
        self.name = function.__name__
        self.__doc__ = function.__doc__

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        return dict(inspect.signature(self.function).parameters)

    def build(self, **parameters: Any) -> pipelines.PipelineGraph:
        """The graph with these parameters, each checked against its type.

        Errors: InvalidRequest naming the parameter, or the step and the argument, with both types.
        """
        checked = self._checked(parameters)
        builder = _Builder()
        token = _building.set(builder)
        try:
            answer = self.function(**checked)
        finally:
            _building.reset(token)
        try:
            return pipelines.PipelineGraph(
                name=self.name,
                nodes=tuple(builder.nodes.values()),
                parameters=json_of(checked, self.name),
                answers=_answers(answer),
            )
        except ValidationError as error:
            raise _invalid(f"pipeline `{self.name}`", error) from error

    def _checked(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        known = self.parameters
        for name in parameters:
            if name not in known:
                has = ", ".join(f"`{n}`" for n in known) or "none"
                raise errors.InvalidRequest(
                    f"pipeline `{self.name}` has no parameter `{name}`; it has {has}", field=name
                )
        types, found = typing.get_type_hints(self.function), dict[str, Any]()
        for name, parameter in known.items():
            if name in parameters:
                found[name] = values.literal(parameters[name], types.get(name, Any), name)
            elif parameter.default is inspect.Parameter.empty:
                raise errors.InvalidRequest(
                    f"pipeline `{self.name}` needs `{name}`; give it with `--set {name}=...`", field=name
                )
            else:
                found[name] = parameter.default
        return found


@overload
def pipeline(function: Callable[..., Any], /) -> Pipeline: ...
@overload
def pipeline(*, project: str = ...) -> Callable[[Callable[..., Any]], Pipeline]: ...
def pipeline(
    function: Callable[..., Any] | None = None, /, *, project: str = ""
) -> Pipeline | Callable[[Callable[..., Any]], Pipeline]:
    """A pipeline: `@pipeline`, or `@pipeline(project="flight-delay")` with the project that it usually runs in."""
    return (lambda inner: Pipeline(inner, project)) if function is None else Pipeline(function, project)


class _Builder:
    """The nodes so far. One a build."""

    def __init__(self) -> None:
        self.nodes: dict[str, pipelines.Node] = {}

    def add_step(self, made: Step[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Answer:
        """Errors: InvalidRequest for an argument of another type."""
        name = self._free(made.name)
        types, answer = made.types
        inputs: dict[str, pipelines.Input] = {}
        mapped = ""
        for argument, given in made.bind(args, kwargs).items():
            if isinstance(given, _Each):
                if mapped:
                    raise errors.InvalidRequest(
                        f"step `{name}` is mapped over `{mapped}` and over `{argument}`; map it over one list",
                        field=f"{name}.{argument}",
                    )
                mapped = argument
                self._spread(given.answer)
            inputs[argument] = _input(name, argument, given, types[argument])
        try:
            self.nodes[name] = made.node(name=name, inputs=inputs, each=mapped)
        except ValidationError as error:
            raise _invalid(f"step `{name}`", error) from error
        return Answer(name, list[answer] if mapped else answer)  # type: ignore[valid-type]

    def add_approval(self, value: Answer, asked: pipelines.Approval, name: str) -> Answer:
        name = self._free(name)
        found = pipelines.Input(node=value._node, path=value._path)
        gives = hints.name_of(value._annotation)
        try:
            self.nodes[name] = pipelines.Node(name=name, inputs={"value": found}, approval=asked, gives=gives)
        except ValidationError as error:
            raise _invalid(f"approval `{name}`", error) from error
        return Answer(name, value._annotation)

    def _free(self, name: str) -> str:
        found, n = name, 1
        while found in self.nodes:
            n += 1
            found = f"{name}_{n}"
        return found

    def _spread(self, answer: Answer) -> None:
        """Have the list kept item by item, by the step that makes it."""
        node = self.nodes[answer._node]
        while node.approval is not None:
            node = self.nodes[node.inputs["value"].node]
        if answer._path:
            raise errors.InvalidRequest(
                f"`each` is given a field of the answer of `{answer._node}`; answer the list by itself",
                field=answer._node,
            )
        self.nodes[node.name] = node.model_copy(update={"is_spread": not node.each})


def _input(step_name: str, argument: str, given: Any, wanted: Any) -> pipelines.Input:
    """Errors: InvalidRequest for another type, naming step, argument and both types."""
    where = f"{step_name}.{argument}"
    answer = given.answer if isinstance(given, _Each) else given
    if not isinstance(answer, Answer):
        if hints.kind_of(wanted, where=where) is not pipelines.ValueKind.JSON:
            raise errors.InvalidRequest(
                f"step `{step_name}` takes `{argument}: {hints.name_of(wanted)}` from another step only, and is given"
                f" {given!r:.80}; read it in a step",
                field=where,
            )
        return pipelines.Input(literal=json_of({"": values.literal(given, wanted, where)}, where)[""])
    kind = answer._annotation
    if isinstance(given, _Each):
        kind = hints.item_of(kind)
        if kind is None:
            raise errors.InvalidRequest(
                f"step `{step_name}` is mapped over the answer of `{answer._node}`, which is no list but"
                f" `{hints.name_of(answer._annotation)}`; let it answer `list[...]`",
                field=where,
            )
    if not hints.fits(kind, wanted):
        raise errors.InvalidRequest(
            f"step `{step_name}` takes `{argument}: {hints.name_of(wanted)}` and is given the answer of"
            f" `{answer._node}`, which is `{hints.name_of(kind)}`; change one of the two",
            field=where,
        )
    return pipelines.Input(node=answer._node, path=answer._path)


def _answers(answer: Any) -> dict[str, pipelines.Input]:
    """What a pipeline returns: an answer, a dict of them by name, or nothing."""
    found = answer if isinstance(answer, dict) else {} if answer is None else {"answer": answer}
    for name, one in found.items():
        if not isinstance(one, Answer):
            raise errors.InvalidRequest(
                f"the pipeline returns `{name}`, which is no answer of a step; return answers, or a dict of them",
                field=str(name),
            )
    return {str(name): pipelines.Input(node=one._node, path=one._path) for name, one in found.items()}


def json_of(found: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Checked values as JSON. Errors: InvalidRequest for what has no such form."""
    try:
        value: dict[str, Any] = pydantic.TypeAdapter(dict[str, Any]).dump_python(dict(found), mode="json")
        return dict(json.loads(canonical.dumps(value)))
    except (pydantic.ValidationError, ValueError) as error:
        raise errors.InvalidRequest(f"`{where}` has no JSON form: {error}", field=where) from error


def _invalid(where: str, error: ValidationError) -> errors.InvalidRequest:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return errors.InvalidRequest(
        f"{where}: {field}: {first['msg'].removeprefix('Value error, ')}", field=field
    )
