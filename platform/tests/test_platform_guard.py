"""No route changes or reads state without asking the policies, and nothing else opens a writing transaction."""

from __future__ import annotations

import ast
import inspect
import re
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
from mainspring.platform import mutation, reads
from mainspring.platform.approvals import service as approvals
from mainspring.platform.audit import store
from mainspring.platform.policies import engine
from mainspring.platform.runs import launcher

# Where the package is imported from: the source tree, or the tree that Bazel lays out.
ROOM = Path(mutation.__file__).parent
CHANGING = {"POST", "PUT", "PATCH", "DELETE"}
#: What anybody may ask: is the process alive, how busy is it, what is its API, and the portal's files, which have nothing of the platform's state.
PORTAL = {
    "/",
    "/portal",
    "/portal/{path:path}",
    "/portal/assets/{name:str}",
    "/portal/config.json",
    "/portal/frame",
}
OPEN = {"/healthz", "/readyz", "/metrics", *PORTAL}
#: Asked by POST because the question is long, or has a secret that is for no address; nothing is changed.
QUESTIONS = {
    "/api/v1/endpoints/{name:str}/predict",
    "/api/v1/endpoints/{name:str}/explain",
    "/api/v1/templates/{name:str}/plan",
    "/api/v1/service-accounts:introspect",
}


#: What a service of another noun does, chosen by the request: all that can be chosen.
DISPATCHED = {
    "/api/v1/approvals/{approval_id:str}/decision": [type(kind).decide for kind in approvals.KINDS.values()],
}


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


def goes_through(door: Callable[..., Any], function: Callable[..., Any], depth: int = 3) -> bool:
    """Does it call the door, itself or through a function of this room that it calls."""
    found = list(calls(function))
    if door in found:
        return True
    ours = [f for f in found if inspect.isfunction(f) and f.__module__.startswith("mainspring.platform.")]
    return depth > 0 and any(goes_through(door, f, depth - 1) for f in ours)


def unguarded(app: Litestar) -> list[str]:
    """Routes that change something without the mutation, and others that read without the reader."""
    return sorted(
        f"{method} {route.path}"
        for route in app.routes
        if isinstance(route, HTTPRoute) and route.path not in OPEN
        for handler in route.route_handlers
        for method in set(handler.http_methods) - {"OPTIONS", "HEAD"}
        if handler.fn.__module__.startswith(("mainspring.", __name__))
        and route.path not in DISPATCHED
        and not goes_through(
            mutation.mutate if method in CHANGING and route.path not in QUESTIONS else reads.reading,
            handler.fn,
        )
    )


@post("/seeded")
async def seeded_post() -> str:
    return "changed something"


@delete("/seeded/{name:str}", status_code=200)
async def seeded_delete() -> str:
    return str(ROOM)


@get("/seeded")
async def seeded_get() -> str:
    return str(ROOM)


def test_every_route_goes_through_the_mutation_or_the_reader(tmp_path: Path) -> None:
    app = control_app.create_app(
        settings.load({}, directory=tmp_path),
        issuer=identity.TokenIssuer({}),
        launcher=launcher.MemoryLauncher(),
    )
    changing = [
        r.path
        for r in app.routes
        if isinstance(r, HTTPRoute)
        and r.path not in QUESTIONS
        and CHANGING & {m for h in r.route_handlers for m in h.http_methods}
    ]
    assert len(changing) >= 43  # the walk sees the table: all paths of the API that change something
    assert unguarded(app) == []
    for path, chosen in DISPATCHED.items():
        assert path in changing and chosen
        assert all(goes_through(mutation.mutate, one) for one in chosen), path


def test_the_guard_sees_a_route_that_goes_round() -> None:
    found = unguarded(Litestar([seeded_post, seeded_delete, seeded_get]))
    assert found == ["DELETE /seeded/{name:str}", "GET /seeded", "POST /seeded"]


def rights(room: Path) -> set[str]:
    """Every right that the room asks the policies for: `right=`, or `action=`, of a call to one of the doors, or of a target that has its own.

    One that is not written out where it is asked for cannot be held against the schema, and is `?`.
    """
    found = set()
    for path in room.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or path.name == "mutation.py" or "tests" in path.parts:
                continue
            if ast.unparse(node.func) in ("mutation.mutate", "mutation.around", "reads.reading", "access.by"):
                given = {word.arg: word.value for word in node.keywords}
                asked = given.get("right", given.get("action"))
                found.add(str(asked.value) if isinstance(asked, ast.Constant) else "?")
    return found


def test_the_schema_has_every_right_that_is_asked_for_and_no_other(tmp_path: Path) -> None:
    # `data.see` lets nobody in here: it is asked for every role, and serving follows the answers.
    assert rights(ROOM) | {"data.see"} == engine.PolicyEngine.load().actions
    assert "data.see" in (ROOM / "protection" / "masking_service.py").read_text()
    (tmp_path / "seeded.py").write_text("async def f(p, c, a):\n    await mutation.mutate(p, c, action=a)\n")
    assert rights(tmp_path) == {"?"}


#: Kinds of resources on record that are of no project, and first words of paths that are none.
OF_THE_PLATFORM = {"key-change", "keys"}
NO_RESOURCES = {"assets", "bundles", "policies"}


def kinds(room: Path) -> set[str]:
    """First words of what the room puts on record: of `f"schedule/{project}/..."` the `schedule`."""
    found = set()
    for path in room.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())) if "tests" not in path.parts else ():
            if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                begin = str(node.values[0].value)
                if re.fullmatch(r"[a-z][a-z-]*/", begin) and len(node.values) > 1:
                    found.add(begin.removesuffix("/"))
    return found


def test_what_is_on_record_of_a_project_is_found_by_it(tmp_path: Path) -> None:
    """Or its members would not see it in the log, nor be told of it as it happens."""
    known = {*store.NAMED_BY_PROJECT, *store.BELOW_PROJECT, *store.OF_A_PROJECT}
    assert kinds(ROOM) == known | OF_THE_PLATFORM | NO_RESOURCES
    (tmp_path / "seeded.py").write_text('def f(p):\n    return f"novelty/{p}/x"\n')
    assert kinds(tmp_path) == {"novelty"}


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
    # A log that was put back from a copy goes on with a row that says so: that row is all that is written.
    assert writers(ROOM) == ["audit/checkpoints.py", "mutation.py"]
    (tmp_path / "seeded.py").write_text(
        "async def f(plane):\n    async with plane.database.write():\n        pass\n"
    )
    assert writers(tmp_path) == ["seeded.py"]
