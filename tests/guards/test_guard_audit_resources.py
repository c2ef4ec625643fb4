"""What the control API puts on record of a project is found as the project's: its kind is among those that name one."""

from __future__ import annotations

import re

import source_tree

from mainspring.platform.audit import store

#: `f"<kind>/{project}"`, `f"<kind>/{row.project}/..."`: which kinds are named by their project, and which are below it.
_NAMED = re.compile(r'f"(?P<kind>[a-z][a-z-]*)/\{(?:[a-z_]+\.)?project\}(?P<below>/)?[^"]*"')
#: Not resources of the log.
_OTHERS = {"projects"}


def test_every_resource_that_names_its_project_is_found_as_its() -> None:
    named: dict[str, set[str]] = {}
    below: dict[str, set[str]] = {}
    for path in sorted((source_tree.ROOT / "platform").rglob("*.py")):
        if {"tests", "cli", "web"} & set(path.parts):
            continue
        for found in _NAMED.finditer(path.read_text(encoding="utf-8")):
            if found["kind"] not in _OTHERS:
                (below if found["below"] else named).setdefault(found["kind"], set()).add(path.name)
    assert {"project", "data-read", "quota"} <= set(named) and {"member", "secret"} <= set(below)
    assert {k: v for k, v in named.items() if k not in store.NAMED_BY_PROJECT} == {}
    assert {k: v for k, v in below.items() if k not in store.BELOW_PROJECT} == {}
