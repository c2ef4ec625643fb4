"""No route changes state except through the mutation, and nothing else opens a writing transaction."""

from __future__ import annotations

import ast
import inspect
import textwrap
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from litestar import Litestar, delete, get, post
from litestar.params import FromQuery
from litestar.routes import HTTPRoute

from mainspring.core import identity, settings
from mainspring.core.contracts import control
from mainspring.platform import app as control_app
from mainspring.platform import mutation
from mainspring.platform.runs import launcher

# Where the package is imported from: the source tree, or the tree that Bazel lays out.
ROOM = Path(mutation.__file__).parent
CHANGING = {"POST", "PUT", "PATCH", "DELETE"}


def calls(function: Callable[..., Any]) -> Iterable[Any]:
    """What a function calls, resolved through its globals: the objects behind `f()` and `module.f()`."""
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        if not isinstance(node, ast.Call):
            continue
        target = node.func
        if isinstance(target, ast.Name):
            yield function.__globals__.get(target.id)
        elif isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
            yield getattr(function.__globals__.get(target.value.id), target.attr, None)


def mutates(function: Callable[..., Any], depth: int = 2) -> bool:
    """Does it call `mutation.mutate`, itself or through a function of this room that it calls."""
    found = list(calls(function))
    if mutation.mutate in found:
        return True
    ours = [f for f in found if inspect.isfunction(f) and f.__module__.startswith("mainspring.platform.")]
    return depth > 0 and any(mutates(f, depth - 1) for f in ours)


def unguarded(app: Litestar) -> list[str]:
    return sorted(
        f"{method} {route.path}"
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in CHANGING & set(handler.http_methods)
        if not mutates(handler.fn)
    )


@post("/seeded")
async def seeded_post() -> str:
    return "changed something"


@delete("/seeded/{name:str}", status_code=200)
async def seeded_delete() -> str:
    return str(ROOM)


def test_every_changing_route_goes_through_the_mutation(tmp_path: Path) -> None:
    app = control_app.create_app(
        settings.load({}, directory=tmp_path),
        issuer=identity.TokenIssuer({}),
        launcher=launcher.MemoryLauncher(),
    )
    changing = [
        r.path
        for r in app.routes
        if isinstance(r, HTTPRoute) and CHANGING & {m for h in r.route_handlers for m in h.http_methods}
    ]
    assert len(changing) == 15  # the walk sees the table: all paths of the API that change something
    assert unguarded(app) == []


def test_the_guard_sees_a_route_that_goes_round() -> None:
    assert unguarded(Litestar([seeded_post, seeded_delete])) == ["DELETE /seeded/{name:str}", "POST /seeded"]


def unpaged(app: Litestar) -> list[str]:
    """Lists that come whole, and pages that cannot be asked for one by one."""
    found = []
    for route in app.routes:
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            answer, asked = (
                handler.parsed_fn_signature.return_type,
                set(handler.parsed_fn_signature.parameters),
            )
            is_list = typing.get_origin(answer.annotation) in (list, tuple, set, Sequence)
            is_page = answer.annotation is control.Page
            if is_list or (is_page and not ("limit" in asked and {"after", "before"} & asked)):
                found.append(route.path)
    return sorted(found)


@get("/seeded-list")
async def seeded_list() -> list[str]:
    return []


@get("/seeded-page")
async def seeded_page(limit: FromQuery[int]) -> control.Page:
    return control.Page(items=[], next=str(limit))


def test_every_list_is_paged(tmp_path: Path) -> None:
    app = control_app.create_app(
        settings.load({}, directory=tmp_path),
        issuer=identity.TokenIssuer({}),
        launcher=launcher.MemoryLauncher(),
    )
    assert unpaged(app) == []
    assert unpaged(Litestar([seeded_list, seeded_page])) == ["/seeded-list", "/seeded-page"]


def writers(room: Path) -> list[str]:
    """Files that open a writing transaction: that call `.write()` on a database."""
    found = []
    for path in room.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            is_write = isinstance(node, ast.Attribute) and node.attr == "write"
            if is_write and ast.unparse(node).endswith("database.write") and "tests" not in path.parts:
                found.append(path.relative_to(room).as_posix())
    return sorted(set(found))


def test_only_the_mutation_opens_a_writing_transaction(tmp_path: Path) -> None:
    assert writers(ROOM) == ["mutation.py"]
    (tmp_path / "seeded.py").write_text(
        "async def f(plane):\n    async with plane.database.write():\n        pass\n"
    )
    assert writers(tmp_path) == ["seeded.py"]
