"""The tool that makes pages of the code: what it says of a stale page, and the pieces that pages consist of."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import click
import documents
import pytest

TOOL = documents.ROOT / "tools" / "reference"


@pytest.fixture(scope="module")
def tool() -> Iterator[SimpleNamespace]:
    """Its files, imported as it imports them: from its own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOL))
        names = [path.stem for path in TOOL.glob("[a-z]*.py")]
        main = SimpleNamespace(**runpy.run_path(str(TOOL / "__main__.py"), run_name="reference"))
        found = {name: __import__(name) for name in names}
        yield SimpleNamespace(main=main, **found)
    for name in names:
        sys.modules.pop(name, None)


def test_what_is_absent_otherwise_or_left_over_is_stale(tool: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "reference").mkdir()
    for name, text in (("same", "a"), ("other", "b"), ("gone", "c")):
        (tmp_path / "reference" / f"{name}.md").write_text(text)
    wanted = {"reference/same.md": "a", "reference/other.md": "B", "images/bench/new.svg": "d"}
    assert tool.main.stale(wanted, tmp_path) == [
        "images/bench/new.svg",
        "reference/gone.md",
        "reference/other.md",
    ]
    assert tool.main.stale({}, tmp_path / "empty") == []


def test_a_table_leaves_out_what_is_empty_and_ends_no_cell_early(tool: SimpleNamespace) -> None:
    made = tool.words.table(("a", "b", "c"), [("1|2", "", "x\ny"), ("3", "", "")])
    assert made.splitlines() == ["| a | c |", "| --- | --- |", r"| 1\|2 | x y |", "| 3 |  |"]
    assert tool.words.table(("a",), [("",)]) == ""


def test_a_docstring_is_markdown_and_no_html(tool: SimpleNamespace) -> None:
    said = tool.words.prose("See :func:`~core.load` and ``x``: <file>, a*b,\n`<kept*>`.")
    assert said == "See `core.load` and `x`: &lt;file>, a\\*b, `<kept*>`."


def test_options_say_their_limits_choices_and_defaults(tool: SimpleNamespace) -> None:
    @click.command()
    @click.argument("name")
    @click.option("--share", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True)
    @click.option("--kind", type=click.Choice(["a", "b"]), required=True, multiple=True, help="Which.")
    @click.option("--json", is_flag=True)
    def made(**_: Any) -> None:
        """First.

        Second <here>.
        """

    text = "\n".join(tool.command_page._command("mainspring made", made, "##"))
    assert "mainspring made [OPTIONS] NAME" in text and "First.\n\nSecond &lt;here>." in text
    assert "| `--share` | 0 < x ≤ 1 | `1.0` |" in text and "--json" not in text
    assert "| `--kind` (may be repeated) | `a`, `b` |  | Which. Required. |" in text


def test_bars_are_drawn_the_same_and_only_of_what_has_a_logarithm(tool: SimpleNamespace) -> None:
    bar = tool.charts.Bar
    rows = [bar("ours <1>", 0.5, "0.5", True, mark=3.0), bar("theirs", 200.0, "200")]
    drawn = tool.charts.bars("a & b", "us", rows)
    assert drawn == tool.charts.bars("a & b", "us", rows)
    root = ElementTree.fromstring(drawn)
    ours, theirs = (float(r.get("width", 0)) for r in root.findall(".//{*}rect") if r.get("x"))
    assert 0 < ours < theirs < 760
    for wrong in ([], [bar("nothing", 0.0, "0")]):
        with pytest.raises(ValueError, match="above zero"):
            tool.charts.bars("a", "us", wrong)


def test_pictures_are_whole(tool: SimpleNamespace) -> None:
    for text in tool.concept_pictures.pages().values():
        root = ElementTree.fromstring(text)
        _, _, width, height = map(float, str(root.get("viewBox")).split())
        boxes = [r for r in root.findall(".//{*}rect") if r.get("x")]
        assert len(boxes) >= 5
        assert all(float(b.get("x", 0)) + 150 <= width and float(b.get("y", 0)) + 52 <= height for b in boxes)
    box = tool.diagrams.Box("a", 0, 0, ("a",))
    with pytest.raises(KeyError):
        tool.diagrams.draw(tool.diagrams.Picture("x", [box], [("a", "gone", "")]))


def test_a_missed_goal_is_said(tool: SimpleNamespace) -> None:
    goal = {"name": "x", "value": 1.5, "unit": "us", "ratio": 2.0, "peer": "y", "target": 3, "ok": False}
    assert tool.bench_page._goal(goal)[4] == "**missed**" and tool.bench_page._goal(goal)[2] == "2 of y"


def test_results_that_are_no_contests_are_told_whole(tool: SimpleNamespace) -> None:
    metrics = {"test": {"auc": 0.75, "rows": 1000}, "test/logistic_regression": {"auc": 0.74}}
    run = {
        "total_seconds": 12.3, "metrics": metrics, "latency_p50_ms": 1.25, "latency_p99_ms": 3.0, "predictions": 10,
        "online_offline_max_difference": 1e-7, "audit_intact": False, "steps": [{"step": "fit_plan", "seconds": 2.5}, {"step": "x", "seconds": 0.0}],
    }  # fmt: skip
    parts, pictures = tool.journey_results.main_job({"runs": {"cold": run, "warm": run}})
    assert "| audit log verifies | **no** | **no** |" in parts[-1] and list(pictures) == [
        "images/bench/demo.svg"
    ]
    assert "fit plan" in pictures["images/bench/demo.svg"] and ">x<" not in pictures["images/bench/demo.svg"]


def test_types_link_to_their_own_headings(tool: SimpleNamespace) -> None:
    inner, other = (
        {"properties": {"a": {"type": "integer", "minimum": 1, "maximum": 9.5}}},
        {"enum": ["x", "y"]},
    )
    first = {
        "properties": {"request": {"$ref": "#/$defs/R"}},
        "$defs": {"R": {"properties": {}}, "Limits": inner},
    }
    types: dict[str, Any] = {}
    known = tool.process_page._headings("p.A.v1", first, types)
    again = tool.process_page._headings("p.B.v1", {**first, "$defs": {"Limits": other}}, types)
    assert (known, again) == ({"Limits": "Limits"}, {"Limits": "Limits of p.B.v1"})
    assert tool.messages.linked("Limits", again) == "[`Limits`](#limits-of-pbv1)"
    text = "\n".join(tool.messages.definitions(types))
    assert "### Limits of p.B.v1" in text and "`x`, `y`." in text and "At least 1, at most 9.5." in text
    schemas = {"R": {"items": {"$ref": "#/$defs/S"}}, "S": {}, "T": {}}
    assert set(tool.messages.reached(["R"], schemas)) == {"R", "S"}
