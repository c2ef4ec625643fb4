"""What others build on is written down as it is, no format is left out, and what has changed fits the version."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import source_tree

from mainspring.core.supply import surface

ROOT = source_tree.ROOT
#: How a source says the version of what it writes.
_SAYS = re.compile(
    r"^_?(?:SCHEMA_VERSION|VERSION|_VERSION|_LAYOUT): Final = \d+|^    schema_version: Literal\[\d+\]|\"MSNG\w{3}\d\"",
    re.MULTILINE,
)


@pytest.fixture(scope="module")
def collected() -> Iterator[dict[str, Any]]:
    """The collectors by name, run from where the tools lie."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        yield runpy.run_path(str(ROOT / "tools" / "surface_collected.py"))
    finally:
        sys.path.remove(str(ROOT / "tools"))


@pytest.fixture(scope="module")
def today(collected: dict[str, Any]) -> surface.Surface:
    made: surface.Surface = collected["everything"]()
    return made


def test_what_is_written_down_is_todays(today: surface.Surface) -> None:
    _, stored = surface.read(ROOT / "docs" / "surface" / "next")
    fix = "write it with `python tools/surface.py --write`"
    assert [str(change) for change in surface.changes(stored, today)] == [], fix
    for kind, items in today.items():  # what a change does not tell, as the order of a file
        text = (ROOT / "docs" / "surface" / "next" / f"{kind}.json").read_text()
        assert text == surface.rendered(items), fix


def test_every_kind_has_what_it_is_about(today: surface.Surface) -> None:
    assert {kind for kind, items in today.items() if not items} == set()
    assert today["commands"]["run watch"]["RUN_ID"]["at"] == 0
    assert today["client"]["ControlClient.runs"]["limit"] == {"type": "int", "default": 50}
    assert today["settings"]["serving"]["workers"]["limits"] == {"minimum": 1, "maximum": 256}
    assert today["control"]["GET /api/v1/runs"]["query limit"]["type"] == "integer"
    assert today["control"]["RunView"]["stage"]["way"] == "out"
    assert today["serving"]["POST /v1/endpoints/{name}:predict"]["200 application/json"]["way"] == "out"
    assert today["processes"]["mainspring.TrainModel.v1"]["request"]["type"] == "TrainRequest"
    assert set(today["metrics"]["mainspring_model_failures"]) == {
        "kind", "label code", "label model", "label version",
    }  # fmt: skip
    assert "mainspring_endpoint_rows" in today["metrics"] and "mainspring_stream_problem" in today["metrics"]
    assert today["errors"]["overloaded"]["kind"]["type"] == "busy, again later"


def test_no_format_is_left_out(collected: dict[str, Any]) -> None:
    """A source that says a version of what it writes is in the table of formats, or it is known why not."""
    others = {
        "native/src/table/table_memory.h": "memory of processes of one release",
        "platform/costs/focus.py": "FOCUS's own",
    }
    said = {
        path.relative_to(ROOT).as_posix()
        for room in ("core", "native", "serving", "workflows", "platform")
        for suffix in ("*.py", "*.cc", "*.h")
        for path in (ROOT / room).rglob(suffix)
        if not {"tests", "skeleton"} & set(path.parts) and not path.stem.endswith("_test")
        if _SAYS.search(path.read_text(encoding="utf-8"))
    }
    listed = {of.file for of in collected["FORMATS"].values()}
    assert said - listed - set(others) == set(), "name it in FORMATS of tools/surface_collected.py"
    assert len(said & listed) > 10  # the pattern does find them


def test_a_seeded_change_of_todays_surface_is_found(today: surface.Surface) -> None:
    less: Any = {kind: {item: dict(parts) for item, parts in items.items()} for kind, items in today.items()}
    del less["commands"]["run watch"]["--timeout-seconds"]
    del less["formats"]["online table log"]["reads MSNGLOG1"]
    less["settings"]["serving"]["workers"] = less["settings"]["serving"]["workers"] | {
        "limits": {"minimum": 2, "maximum": 256}
    }
    found = surface.changes(today, less)
    assert [(c.item, c.is_break) for c in found] == [
        ("run watch", True), ("online table log", True), ("serving", True),
    ]  # fmt: skip
    assert surface.due("1.0.0", found) == "2.0.0"
    assert {c.is_break for c in surface.changes(less, today)} == {False}


def test_a_change_since_the_last_release_is_told_with_the_version_that_is_due() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "surface.py"))
    (*_, last) = tool["say_due"]()
    assert re.search(r"any version will do|may be followed by \d+\.\d+\.\d+$", last)
