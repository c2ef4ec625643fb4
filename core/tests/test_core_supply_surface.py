"""Which change of what others build on is an addition, which a break, and which version each is due."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from mainspring.core import errors
from mainspring.core.supply import surface

OLD: Any = {
    "commands": {
        "run watch": {
            "RUN_ID": {"type": "text", "required": True, "at": 0},
            "--as": {"type": "choice", "required": False, "values": ["json", "text"], "default": "text"},
            "--seconds": {"type": "integer", "required": False, "limits": {"minimum": 1, "maximum": 60}},
        },
        "run list": {},
    },
    "control": {
        "RunView": {
            "stage": {"type": "string", "required": True, "way": "out", "values": ["done", "failed"]},
            "cost": {"type": "null | number", "required": False, "way": "out"},
        },
        "Slice": {"column": {"type": "string", "required": True, "way": "both"}},
    },
}


def changed(kind: str, item: str, part: str = "", **otherwise: Any) -> list[surface.Change]:
    """What is found where `otherwise` is put into a part; without it, the part or item is taken away."""
    new = copy.deepcopy(OLD)
    if otherwise:
        new[kind].setdefault(item, {}).setdefault(part, {}).update(otherwise)
    elif part:
        del new[kind][item][part]
    else:
        del new[kind][item]
    return surface.changes(OLD, new)


ADDITIONS = [
    changed("commands", "run cancel", "RUN_ID", type="text", required=True, at=0),
    changed("commands", "run watch", "--quiet", type="flag", required=False),
    changed("commands", "run watch", "RUN_ID", required=False),
    changed("commands", "run watch", "--as", values=["json", "text", "yaml"]),
    changed("commands", "run watch", "--as", default="json"),
    changed("commands", "run watch", "--as", values=None),
    changed("commands", "run watch", "--seconds", type="integer | null"),
    changed("commands", "run watch", "--seconds", limits={"minimum": 0}),
    changed("control", "RunView", "owner", type="string", required=True, way="out"),
    changed("control", "RunView", "stage", values=["done", "failed", "held"]),
    changed("control", "RunView", "cost", type="number"),
    changed("control", "RunView", "cost", required=True),
    changed("control", "Slice", "value", type="string", required=False, way="both"),
]
BREAKS = [
    changed("commands", "run list"),
    changed("commands", "run watch", "--as"),
    changed("commands", "run watch", "PROJECT", type="text", required=True, at=1),
    changed("commands", "run watch", "--seconds", required=True),
    changed("commands", "run watch", "--seconds", type="text"),
    changed("commands", "run watch", "--seconds", limits={"minimum": 2, "maximum": 60}),
    changed("commands", "run watch", "--seconds", limits={"minimum": 1, "maximum": 60, "pattern": "x"}),
    changed("commands", "run watch", "--as", values=["text"]),
    changed("commands", "run watch", "RUN_ID", values=["a"]),
    changed("commands", "run watch", "RUN_ID", at=1),
    changed("control", "RunView", "stage", required=False),
    changed("control", "RunView", "stage", type="null | string"),
    changed("control", "RunView", "cost"),
    changed("control", "Slice", "column", required=False),
    changed("control", "Slice", "column", type="integer | string"),
    changed("control", "Slice", "value", type="string", required=True, way="both"),
]


@pytest.mark.parametrize("found", ADDITIONS)
def test_an_addition_is_due_a_minor_version(found: list[surface.Change]) -> None:
    assert found and not any(change.is_break for change in found), found
    assert surface.due("1.4.2", found) == "1.5.0"


@pytest.mark.parametrize("found", BREAKS)
def test_a_break_is_due_a_major_version(found: list[surface.Change]) -> None:
    assert any(change.is_break for change in found), found
    assert surface.due("1.4.2", found) == "2.0.0"


def test_the_least_version_that_may_follow() -> None:
    assert surface.changes(OLD, copy.deepcopy(OLD)) == []
    assert [surface.due(v, []) for v in ("0.1.0", "1.4.2", "2.0.0rc1")] == ["0.1.1", "1.4.3", "2.0.1"]
    # Before 1.0.0 anything may change, by a minor version.
    assert surface.due("0.3.1", ADDITIONS[0]) == surface.due("0.3.1", BREAKS[0]) == "0.4.0"
    with pytest.raises(errors.InvalidRequest, match="`1.4` is no version; expected three numbers"):
        surface.due("1.4", [])


@pytest.mark.parametrize(
    ("now", "found", "due"),
    [
        ("1.4.2", [], "1.4.3"),
        ("1.4.3", ADDITIONS[0], "1.5.0"),
        ("1.5.0", BREAKS[0], "2.0.0"),
        ("1.5.0rc1", BREAKS[0], "2.0.0"),
        ("0.9.9", [], "1.4.3"),
    ],
)
def test_a_version_that_is_too_low_is_refused(now: str, found: list[surface.Change], due: str) -> None:
    with pytest.raises(errors.Conflict, match=f"version {now} cannot follow 1.4.2: .*at least {due}"):
        surface.require_fit("1.4.2", now, found, "### Removed (major)\n- `run list`\n")


def test_a_version_that_fits_is_taken() -> None:
    told = "## 2.0.0\n### Removed (major)\n- `run list`: ask `run watch`.\n### Added (minor)\n- More.\n"
    for now, found in (("1.4.3", []), ("1.5.0", ADDITIONS[0]), ("2.0.0rc1", BREAKS[0]), ("3.0.0", BREAKS[0])):
        surface.require_fit("1.4.2", now, found, told)
    surface.require_fit("", "0.1.0", BREAKS[0], "")  # nothing was released: nobody builds on anything
    with pytest.raises(errors.InvalidRequest, match="no version"):
        surface.require_fit("", "one", [], "")


@pytest.mark.parametrize(
    "told",
    [
        "",
        "### Removed (major)\n- `run watch`\n",
        "### Removed (major)\n- run list\n",
        "### Removed (major)\n- nothing\n### Changed (minor)\n- `run list`\n",
    ],
)
def test_a_break_is_named_in_the_changelog(told: str) -> None:
    with pytest.raises(
        errors.Conflict, match=r"the changelog of 2.0.0 does not name.*`run list` is gone.*\(major\)"
    ):
        surface.require_fit("1.4.2", "2.0.0", BREAKS[0], told)


def test_a_long_list_is_cut() -> None:
    found = [surface.Change("commands", f"run {n}", "", "is gone", True) for n in range(9)]
    with pytest.raises(errors.Conflict, match=r"`run 4` is gone; and 4 more; put at least 2.0.0"):
        surface.require_fit("1.0.0", "1.0.1", found, "")


def test_a_surface_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert surface.write(tmp_path / "s", OLD, "1.4.2") == ["commands.json", "control.json", "release.json"]
    assert surface.read(tmp_path / "s") == ("1.4.2", OLD)
    assert surface.write(tmp_path / "s", OLD, "1.4.2") == []
    assert (tmp_path / "s" / "commands.json").read_text().count("\n") == 4  # an item a line
    assert surface.write(tmp_path / "s", {"commands": OLD["commands"]}) == ["control.json", "release.json"]
    assert surface.read(tmp_path / "s") == ("", {"commands": OLD["commands"]})


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"a": [1]}', "[" * 100_000])
def test_what_is_no_surface_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "commands.json").write_text(text)
    with pytest.raises(errors.CorruptArtifact, match="`commands.json` is no surface.*--write"):
        surface.read(tmp_path)
    with pytest.raises(errors.NotFound, match="surface.py --write"):
        surface.read(tmp_path / "nowhere")
