"""The surface of this tree, kind by kind: what a product team, an operator or another release of ours builds on."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib
import inspect
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import httpx
import surface_schemas as schemas

from mainspring.core import errors, identity, settings
from mainspring.core.contracts import published
from mainspring.core.supply import surface
from mainspring.platform.cli import main as cli
from mainspring.platform.portal import schema as control
from mainspring.serving import assembly

ROOT: Final = Path(__file__).resolve().parent.parent
Items = dict[str, dict[str, surface.Part]]

#: Classes of clients that teams import, by module.
CLIENTS: Final = {
    "mainspring.core.client.control": ("ControlClient", "AsyncControlClient"),
    "mainspring.core.client.schedules": ("ScheduleClient",),
    "mainspring.core.client.serving": ("ServingClient",),
    "mainspring.core.client.workflows": ("WorkflowClient",),
}


@dataclass(frozen=True)
class Format:
    """How data that outlive a release are written: the version, or the first bytes, where the source says it.

    Whoever writes another one puts what is read still into `reads`, and stored state of it into `tests/upgrade`.
    """

    file: str
    pattern: str
    reads: tuple[str, ...] = ()


FORMATS: Final[Mapping[str, Format]] = {
    "baseline of a bundle": Format(
        "core/contracts/monitoring.py", r"class Baseline.*?schema_version: Literal\[(\d+)\]"
    ),
    "bundle inputs": Format("core/contracts/inputs.py", r"schema_version: Literal\[(\d+)\]"),
    "bundle manifest": Format("core/models/manifest.py", r"schema_version: Literal\[(\d+)\]"),
    "bundle samples": Format("core/models/samples.py", r"schema_version: Literal\[(\d+)\]"),
    "bundle signature": Format("core/models/signing.py", r'"version": (\d+)\}'),
    "claim of a payload": Format("core/client/claims.py", r"_VERSION: Final = (\d+)"),
    "device folder": Format("core/edge/export.py", r"_VERSION: Final = (\d+)"),
    "erased subjects": Format("core/erasure/erased.py", r"_VERSION: Final = (\d+)"),
    "folder of tables": Format("core/features/folders.py", r"_VERSION: Final = (\d+)"),
    "kept log of a job": Format("core/job_logs.py", r"_VERSION: Final = (\d+)"),
    "keysets": Format("core/protection/keysets.py", r"_VERSION: Final = (\d+)"),
    "limits of callers": Format("native/src/front/limit_accounts.cc", r"kMagic\[8\] = \{([^}]*)\}"),
    "monitoring report": Format(
        "core/contracts/monitoring.py", r"class MonitorReport.*?schema_version: Literal\[(\d+)\]"
    ),
    "native plan": Format("native/spec.py", r"VERSION: Final = (\d+)"),
    "online directory": Format("core/features/online_directory.py", r"_LAYOUT: Final = (\d+)"),
    "online table log": Format("native/src/table/log_format.cc", r'"(MSNGLOG\d)"'),
    "online table snapshot": Format("native/src/table/log_format.cc", r'"(MSNGSNP\d)"'),
    "rows of a view": Format("core/features/row_log.py", r"_LAYOUT: Final = (\d+)"),
    "sealed columns": Format("core/protection/tables.py", r"_VERSION: Final = (\d+)"),
    "segment": Format("core/features/segment_manifest.py", r"_VERSION: Final = (\d+)"),
    "snapshot of a stream": Format("core/features/streams/snapshots.py", r"_LAYOUT: Final = (\d+)"),
    "transform plan": Format("core/features/plan.py", r"SCHEMA_VERSION: Final = (\d+)"),
    "watermark": Format("core/features/watermark.py", r"_VERSION: Final = (\d+)"),
}


def everything() -> surface.Surface:
    """All kinds. Takes some seconds: both APIs are put together for it."""
    return {
        name: {item: {part: _said(of) for part, of in parts.items()} for item, parts in collect().items()}
        for name, collect in KINDS.items()
    }


def _said(part: surface.Part) -> surface.Part:
    """Without what goes without saying."""
    if not part.get("required", True):
        del part["required"]
    if part.get("way") == "in":
        del part["way"]
    return part


def clients() -> Items:
    """Methods that teams call, with what they take and answer."""
    found: Items = {}
    for module, names in CLIENTS.items():
        for name in names:
            of = getattr(importlib.import_module(module), name)
            for method, function in inspect.getmembers(of, callable):
                if not method.startswith("_") or method == "__init__":
                    found[name if method == "__init__" else f"{name}.{method}"] = _of_signature(function)
    return found


def _of_signature(function: Callable[..., Any]) -> dict[str, surface.Part]:
    signature = inspect.signature(function)
    parts: dict[str, surface.Part] = {}
    for at, parameter in enumerate(list(signature.parameters.values())[1:]):
        part = surface.Part(type=_text(parameter.annotation), required=parameter.default is parameter.empty)
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            part["required"] = False
        elif parameter.kind is not parameter.KEYWORD_ONLY:
            part["at"] = at
        if isinstance(parameter.default, str | int | float):
            part["default"] = parameter.default
        parts[parameter.name] = part
    answer = _text(signature.return_annotation)
    return parts | {"-> answer": surface.Part(type=answer, required=True, way="out")}


def _text(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def commands() -> Items:
    """The command line: every verb with its options and arguments; `mainspring run watch` is `run watch`."""
    return dict(_commands(cli.cli, ()))


def _commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, dict[str, surface.Part]]]:
    if command.hidden:
        return
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            child = command.get_command(click.Context(command), name)
            assert child is not None, name
            yield from _commands(child, (*path, name))
    if not isinstance(command, click.Group) or command.params:
        yield " ".join(path), dict(_parameters(command))


def _parameters(command: click.Command) -> Iterator[tuple[str, surface.Part]]:
    at = 0
    for parameter in command.params:
        part = surface.Part(type=_kind(parameter), required=parameter.required)
        if isinstance(parameter.type, click.Choice):
            part["values"] = sorted(str(choice) for choice in parameter.type.choices)
        limits = {
            "minimum": getattr(parameter.type, "min", None),
            "maximum": getattr(parameter.type, "max", None),
        }
        if limits := {name: limit for name, limit in limits.items() if limit is not None}:
            part["limits"] = limits
        if isinstance(parameter.default, str | int | float) and not isinstance(parameter.default, bool):
            part["default"] = parameter.default
        if isinstance(parameter, click.Argument):
            yield str(parameter.name).upper(), part | {"at": at}
            at += 1
        else:
            for option in (*parameter.opts, *parameter.secondary_opts):
                yield option, part


def _kind(parameter: click.Parameter) -> str:
    if getattr(parameter, "is_flag", False):
        return "flag"
    many = "..." if parameter.nargs != 1 or parameter.multiple else ""
    return parameter.type.name.replace(" range", "") + many


def settings_groups() -> Items:
    """Keys of `mainspring.toml`, by group; `MAINSPRING_<GROUP>_<KEY>` are the same."""
    found: Items = {}
    for name, field in settings.Settings.model_fields.items():
        assert field.annotation is not None
        document = field.annotation.model_json_schema()
        found[name] = {
            # Every setting has a default: what is not there is not asked for.
            key: schemas.part_of(of, required=False, way="in")
            for key, of in document["properties"].items()
        }
    return found


def error_codes() -> Items:
    """What callers catch, by code."""
    found: Items = {}
    for code, of in errors.BY_CODE.items():
        kind = f"{of.kind}, {'again later' if of.retryable else 'not again'}"
        found[code] = {"kind": surface.Part(type=kind, required=True, way="out")}
    return found


def control_api() -> Items:
    return _api(json.loads(control.document()))


def serving_api() -> Items:
    """As a process describes itself; the app is asked as anybody would ask it."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as opened:
        s = settings.load({"MAINSPRING_SERVING_FRONT": "off"}, directory=Path(folder))
        identity.ensure_token_file(s.control.tokens_file)
        app = assembly.assembled(s, None, opened).app

        async def ask() -> Any:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://serving") as client:
                return (await client.get("/openapi.json")).raise_for_status().json()

        return _api(asyncio.run(ask()))


def _api(document: dict[str, Any]) -> Items:
    """Operations by method and path, and by name the messages that they take and answer."""
    found: Items = {}
    given: list[Any] = []
    answered: list[Any] = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts: dict[str, surface.Part] = {}
            for parameter in operation.get("parameters", ()):
                key = f"{parameter['in']} {parameter['name']}"
                parts[key] = schemas.part_of(
                    parameter.get("schema", {}), required=parameter.get("required", False), way="in"
                )
            body = operation.get("requestBody", {})
            for media, content in body.get("content", {}).items():
                given.append(content.get("schema", {}))
                required = body.get("required", False) and len(body["content"]) == 1
                parts[f"body {media}"] = schemas.part_of(given[-1], required=required, way="in")
            for status, response in operation.get("responses", {}).items():
                for media, content in response.get("content", {}).items():
                    answered.append(content.get("schema", {}))
                    parts[f"{status} {media}"] = schemas.part_of(answered[-1], required=True, way="out")
            found[f"{method.upper()} {path}"] = parts
    definitions = document.get("components", {}).get("schemas", {})
    return found | schemas.messages(definitions, given, answered)


def processes() -> Items:
    """What starts each process, what it answers and can be asked; and these messages."""
    found: Items = {}
    definitions: dict[str, Any] = {}
    given: list[Any] = []
    answered: list[Any] = []
    for name, document in published.schemas().items():
        definitions |= document["$defs"]
        found[name] = {}
        for told, of in document["properties"].items():
            is_given = told == "request" or (told.startswith("update:") and not told.endswith(":answer"))
            (given if is_given else answered).append(of)
            way: surface.Way = "in" if is_given else "out"
            found[name][told] = schemas.part_of(of, required=told == "request" or not is_given, way=way)
    return found | schemas.messages(definitions, given, answered)


def formats() -> Items:
    """Versions of what is on disk that this tree reads, and revisions of the control database that it goes on from."""
    found: Items = {}
    for name, of in FORMATS.items():
        match = re.search(of.pattern, (ROOT / of.file).read_text(encoding="utf-8"), re.DOTALL)
        if match is None:
            raise errors.NotFound(
                f"`{of.file}` does not say the version of `{name}` as `{of.pattern}` has it; mend `FORMATS` in"
                " `tools/surface_collected.py`",
                resource="format",
                name=name,
            )
        written = re.sub(r"[', ]", "", match[1])
        found[name] = {f"reads {version}": surface.Part() for version in (written, *of.reads)}
    revisions = (ROOT / "platform" / "migrations" / "versions").glob("r*.py")
    found["control database"] = {f"reads {path.name[1:5]}": surface.Part() for path in sorted(revisions)}
    return found


def metrics() -> Items:
    """Names of what Prometheus scrapes, with their labels, read from the sources: most appear in some configurations only."""
    found: Items = {}
    for path in sorted(ROOT.glob("*/**/*.py")):
        parts = path.relative_to(ROOT).parts
        if parts[0] in ("core", "serving", "platform", "workflows") and "tests" not in parts:
            text = path.read_text(encoding="utf-8")
            if "MetricFamily(" in text:
                found |= _metrics(ast.parse(text))
    return found


def _metrics(tree: ast.Module) -> Items:
    # Those of the module first, then those of its functions.
    constants: dict[str, ast.expr] = {}
    for of in (*tree.body, *ast.walk(tree)):
        if isinstance(of, ast.Assign) and isinstance(of.targets[0], ast.Name):
            constants.setdefault(of.targets[0].id, of.value)
        elif isinstance(of, ast.AnnAssign) and isinstance(of.target, ast.Name) and of.value is not None:
            constants.setdefault(of.target.id, of.value)
    found: Items = {}
    for node, loops in _calls(tree, ()):
        kind = ast.unparse(node.func).rpartition(".")[2].removesuffix("MetricFamily").lower()
        labels = next((word.value for word in node.keywords if word.arg == "labels"), None)
        for name in _names(node.args[0], loops, constants):
            parts = {"kind": surface.Part(type=kind, required=True, way="out")}
            for label in _labels(labels, constants):
                parts[f"label {label}"] = surface.Part(required=True, way="out")
            found[name] = parts
    return found


Loop = tuple[ast.expr, ast.expr]


def _calls(node: ast.AST, loops: tuple[Loop, ...]) -> Iterator[tuple[ast.Call, tuple[Loop, ...]]]:
    """Each call that makes a metric, with the loops that it stands in."""
    if isinstance(node, ast.For):
        loops = (*loops, (node.target, node.iter))
    elif isinstance(node, ast.DictComp | ast.ListComp | ast.GeneratorExp):
        loops = (*loops, *((of.target, of.iter) for of in node.generators))
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("MetricFamily"):
        yield node, loops
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, loops)


def _names(of: ast.expr, loops: tuple[Loop, ...], constants: Mapping[str, ast.expr]) -> list[str]:
    """A name, or those that a loop over words that stand in the source makes of one."""
    if isinstance(of, ast.Constant):
        return [str(of.value)]
    assert isinstance(of, ast.JoinedStr), ast.dump(of)
    (hole,) = (value for value in of.values if isinstance(value, ast.FormattedValue))
    words = _words(ast.unparse(hole.value), loops, constants)
    before, _, after = "".join(v.value if isinstance(v, ast.Constant) else "\0" for v in of.values).partition(
        "\0"
    )
    return [before + word + after for word in words]


def _words(name: str, loops: tuple[Loop, ...], constants: Mapping[str, ast.expr]) -> list[str]:
    for target, over in reversed(loops):
        targets = [ast.unparse(one) for one in getattr(target, "elts", [target])]
        if name in targets:
            over = constants[over.id] if isinstance(over, ast.Name) else over
            rows = [getattr(row, "elts", [row]) for row in over.elts]
            return [str(ast.literal_eval(row[targets.index(name)])) for row in rows]
    raise errors.InvariantViolated(
        f"nobody knows which metrics `{name}` makes", where="tools/surface_collected.py"
    )


def _labels(of: ast.expr | None, constants: Mapping[str, ast.expr]) -> list[str]:
    if of is None:
        return []
    if isinstance(of, ast.Name):
        return _labels(constants[of.id], constants)
    found: list[str] = []
    for one in of.elts:
        found += (
            _labels(one.value, constants) if isinstance(one, ast.Starred) else [str(ast.literal_eval(one))]
        )
    return found


KINDS: Final[Mapping[str, Callable[[], Items]]] = {
    "client": clients,
    "commands": commands,
    "control": control_api,
    "errors": error_codes,
    "formats": formats,
    "metrics": metrics,
    "processes": processes,
    "serving": serving_api,
    "settings": settings_groups,
}
