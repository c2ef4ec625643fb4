"""Links of the documents lead somewhere, every page of the site can be reached, and none tells of somebody's machine."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import documents
import pytest
import yaml

from mainspring.core.contracts import monitoring
from mainspring.core.monitoring import metric_rules

ROOT, DOCS = documents.ROOT, documents.DOCS


def broken(paths: Iterable[Path], *, inside: Path | None = None) -> list[str]:
    """A line for each link that leads nowhere; `inside`: or out of that folder."""
    wrong = []
    for path in paths:
        for link in documents.links(path):
            if re.match(r"[a-z]+:", link):
                continue
            file, _, anchor = link.partition("#")
            target = (path.parent / file).resolve() if file else path
            if not target.exists():
                wrong.append(f"{path.name}: `{link}`: no such file")
            elif inside is not None and not target.is_relative_to(inside):
                wrong.append(f"{path.name}: `{link}`: the site does not have it; name the path in backticks")
            elif anchor and target.suffix == ".md" and anchor not in documents.anchors(target):
                wrong.append(f"{path.name}: `{link}`: no such heading")
    return wrong


def named(nav: object) -> set[str]:
    """The files of a `nav`."""
    if isinstance(nav, str):
        return {nav}
    items = nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ()
    return {file for item in items for file in named(item)}


def test_links_lead_somewhere() -> None:
    everywhere = documents.documents()
    assert broken(p for p in everywhere if not p.is_relative_to(DOCS)) == []
    assert broken((p for p in everywhere if p.is_relative_to(DOCS)), inside=DOCS) == []


def test_every_page_can_be_reached() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    reached: set[Path] = set()
    waiting = [DOCS / "index.md", *(DOCS / name for name in named(site["nav"]))]
    while waiting:
        page = waiting.pop().resolve()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            waiting += [
                page.parent / link.partition("#")[0] for link in documents.links(page) if ":" not in link
            ]
    orphans = {p.resolve() for p in DOCS.rglob("*.md")} - reached
    assert sorted(p.relative_to(DOCS).as_posix() for p in orphans) == [], (
        "name them in mkdocs.yml, or link to them"
    )


def test_nothing_is_fetched_by_a_reader() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert site["theme"]["font"] is False
    assert not {"extra_javascript", "repo_url"} & set(site)
    assert all((DOCS / name).is_file() for name in site["extra_css"])
    assert [p.name for p in DOCS.rglob("*.md") if "```mermaid" in p.read_text(encoding="utf-8")] == []
    pictures = [
        p for page in DOCS.rglob("*.md") for p in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text())
    ]
    assert len(pictures) > 10 and [p for p in pictures if "://" in p] == []


def test_no_page_tells_of_somebodys_machine() -> None:
    told = re.compile(r"(?<![\w.])/(?:root|work)/")
    assert [p.name for p in documents.documents() if told.search(p.read_text(encoding="utf-8"))] == []


def untested(text: str, root: Path) -> list[str]:
    """Rows of a page's tables that name no test behind their last bar, or one that there is not."""
    wrong = []
    for row in re.findall(r"^\|(?!---| attack| who).*\|$", text, re.MULTILINE):
        file, _, name = row.rstrip("| `").rpartition("`")[2].partition("::")
        source = root / file
        if not name or not re.search(
            rf"^(?:async )?def {name}\(", source.read_text() if source.is_file() else "", re.M
        ):
            wrong.append(row)
    return wrong


def test_what_is_defended_names_its_test(tmp_path: Path) -> None:
    text = (DOCS / "security.md").read_text(encoding="utf-8")
    defended = text.split("## The control API", 1)[1]
    assert defended.count("::test_") > 35 and untested(defended, ROOT) == []
    (tmp_path / "test_a.py").write_text("def test_b() -> None: ...\n")
    good, *bad = (
        "| a | b | `test_a.py::test_b` |",
        "| a | b | c |",
        "| a | b | `test_a.py::test_c` |",
        "| a | b | `z.py::test_b` |",
    )
    assert untested("\n".join([good, *bad]), tmp_path) == bad


def test_every_alert_and_every_finding_has_a_runbook() -> None:
    there = documents.anchors(DOCS / "runbooks.md")
    wanted = [*(rule.name for rule in metric_rules.PLATFORM), *get_args(monitoring.FindingKind)]
    assert [name for name in wanted if name not in there] == []


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("b.md", "no such file"),
        ("../c.md", "the site does not have it"),
        ("#gone", "no such heading"),
        ("#a-b", ""),
    ],
)
def test_a_broken_link_is_seen(tmp_path: Path, link: str, said: str) -> None:
    (tmp_path / "c.md").write_text("# c\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text(f"# A b\n\nsee [it]({link}), not `[x](y.md)`\n")
    found = broken([tmp_path / "docs" / "a.md"], inside=tmp_path / "docs")
    assert (said in found[0]) if said else found == []
