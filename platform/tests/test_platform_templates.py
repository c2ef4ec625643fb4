"""`mainspring new`: what is asked, what would be made, and that a project is there whole or not at all."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mainspring.core import errors
from mainspring.platform.cli.main import cli
from mainspring.platform.gitops import document
from mainspring.platform.templates import engine, schema

OWNER = "Eva O'Hara, eva@example.org"
TEMPLATES = engine.names()


def new(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["new", *arguments])


def made(folder: Path, template: str, *more: str, name: str = "late-flights") -> dict[str, Any]:
    done = new(name, "--template", template, "--owner", OWNER, "--folder", str(folder), "--json", *more)
    assert done.exit_code == 0, done.output
    data: dict[str, Any] = json.loads(done.output)["data"]
    return data


def contents(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_every_template_is_listed_and_has_a_schema() -> None:
    listed = json.loads(new("--list", "--json").output)["data"]
    assert [row["name"] for row in listed] == list(TEMPLATES) and "classification" in TEMPLATES
    for name in TEMPLATES:
        asked = json.loads(new("--schema", "--template", name, "--json").output)["data"]
        assert set(asked["required"]) == {"name", "owner"} and asked["additionalProperties"] is False
        assert set(asked["properties"]) == {"name", "owner", "description", *engine.find(name).parameters}


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_dry_run_says_what_is_then_made(tmp_path: Path, template: str) -> None:
    told = made(tmp_path / "p", template, "--dry-run")
    assert not (tmp_path / "p").exists() and told["written"] is False
    done = made(tmp_path / "p", template)
    found = contents(tmp_path / "p")
    assert {f["path"]: f["bytes"] for f in told["files"]} == {n: len(t.encode()) for n, t in found.items()}
    assert done["files"] == told["files"] and done["registers"] == told["registers"]
    assert any(OWNER in one["name"] for one in told["registers"]) and told["next"]
    assert not any("{{" in text for text in found.values())
    assert list(tmp_path.iterdir()) == [tmp_path / "p"]


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_is_made_is_read_by_those_it_is_for(tmp_path: Path, template: str) -> None:
    folder = tmp_path / "p"
    made(folder, template, "--description", 'all "flights" \\ of 2013')
    about = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert about["authors"] == [{"name": OWNER}] and about["description"] == 'all "flights" \\ of 2013'
    assert about["entry-points"]["mainspring.projects"] == {"late-flights": "late_flights.project:PROJECT"}
    wanted = document.read(folder)
    assert wanted.project == "late-flights" and (folder / wanted.pipelines[0].file).is_file()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        planned = CliRunner().invoke(cli, ["run", str(folder / "pipeline.py"), "--dry-run", "--json"])
    assert planned.exit_code == 0, planned.output
    assert '"tried"' in planned.output and '"report"' in planned.output


def test_parameters_go_into_the_files(tmp_path: Path) -> None:
    made(tmp_path / "p", "classification", "--set", "late_minutes=30", "--set", "hidden=64")
    assert "LATE_MINUTES: Final = 30" in (tmp_path / "p/late_flights/data.py").read_text()
    assert "hidden_sizes=(64, 64 // 2)" in (tmp_path / "p/late_flights/model.py").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("late-flights", "--template", "classification"), 1, "has an owner who answers for it"),
        (("late-flights", "--template", "classification", "--owner", "  "), 1, "has an owner"),
        (("late-flights", "--template", "classification", "--owner", "a\nb"), 1, "`owner`"),
        (("Late", "--template", "classification", "--owner", "eva"), 1, "project name `Late` is not allowed"),
        (
            ("test", "--template", "classification", "--owner", "eva"),
            1,
            "package `test`, whose name Python has",
        ),
        (("class", "--template", "classification", "--owner", "eva"), 1, "package `class`"),
        (("aa", "--template", "clasification", "--owner", "eva"), 1, "did you mean `classification`"),
        (
            ("aa", "--template", "classification", "--owner", "eva", "--set", "hiden=3"),
            1,
            "has the parameters",
        ),
        (("aa", "--template", "classification", "--owner", "eva", "--set", "hidden=few"), 1, "`hidden`"),
        (("aa", "--template", "classification", "--owner", "eva", "--set", "hidden=2"), 1, "`hidden`"),
        (("aa", "--template", "classification", "--owner", "eva", "--set", "hidden"), 2, "no NAME=VALUE"),
        (("aa", "--template", "classification", "--set", "owner=eva"), 2, "an option of its own"),
        (("--template", "classification", "--owner", "eva"), 2, "needs a name"),
        (("aa", "--owner", "eva"), 2, "say which template"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_made(
    tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = new(*arguments, "--folder", str(tmp_path / "p"))
    assert done.exit_code == code, done.output
    assert words in " ".join(done.output.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(tmp_path: Path) -> None:
    made(tmp_path / "p", "classification")
    (tmp_path / "p/README.md").write_text("mine")
    done = new("aa", "--template", "classification", "--owner", "eva", "--folder", str(tmp_path / "p"))
    assert done.exit_code == 1 and "exists, and nothing is written over" in done.output
    assert (tmp_path / "p/README.md").read_text() == "mine"
    os.symlink(tmp_path / "nowhere", tmp_path / "link")
    plan = engine.plan(engine.find("classification"), {"name": "aa", "owner": "eva"})
    with pytest.raises(errors.Conflict, match="nothing is written over"):
        engine.write(plan, tmp_path / "link")
    with pytest.raises(errors.NotFound, match="is no folder; make it"):
        engine.write(plan, tmp_path / "none" / "p")


def test_a_disk_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = engine.plan(engine.find("classification"), {"name": "aa", "owner": "eva"})
    written = Path.write_text

    def fails(path: Path, text: str) -> int:
        if path.name == "pipeline.py":
            raise OSError(28, "No space left on device")
        return written(path, text)

    monkeypatch.setattr(Path, "write_text", fails)
    with pytest.raises(OSError, match="No space"):
        engine.write(plan, tmp_path / "p")
    assert list(tmp_path.iterdir()) == []


def test_somebody_elses_folder_at_the_last_moment_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = engine.plan(engine.find("classification"), {"name": "aa", "owner": "eva"})
    renamed = Path.rename

    def meanwhile(path: Path, target: Path) -> Path:
        target.mkdir()
        (target / "theirs").write_text("theirs")
        return renamed(path, target)

    monkeypatch.setattr(Path, "rename", meanwhile)
    with pytest.raises(errors.Conflict, match="cannot be made"):
        engine.write(plan, tmp_path / "p")
    assert contents(tmp_path) == {"p/theirs": "theirs"}


def test_a_person_is_asked_for_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainspring.platform.cli.new._is_person", lambda: True)
    answers = "classification\nlate-flights\neva@example.org\n\n20\n\n"
    done = CliRunner().invoke(cli, ["new", "--folder", str(tmp_path / "p")], input=answers)
    assert done.exit_code == 0, done.output
    assert "LATE_MINUTES: Final = 20" in (tmp_path / "p/late_flights/data.py").read_text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"files": {}}, "files"),
        (
            {"parameters": {"owner": {"type": "string", "description": "x", "default": "y"}}},
            "call the parameter",
        ),
        ({"parameters": {"n": {"type": "integer", "description": "x", "default": "y"}}}, "is no integer"),
        (
            {"parameters": {"n": {"type": "string", "description": "x", "default": "y", "choices": ["a"]}}},
            "choices",
        ),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_a_template_that_contradicts_itself_is_refused(change: dict[str, Any], words: str) -> None:
    good = engine.find("classification").model_dump()
    with pytest.raises(ValueError, match=words):
        schema.Template.model_validate({**good, **change})


def test_a_placeholder_without_a_value_is_our_mistake() -> None:
    assert engine.rendered('a {{ b }} {{ b | json }} {"c": 1}', {"b": 'x"y'}, "t") == 'a x"y "x\\"y" {"c": 1}'
    with pytest.raises(errors.InvariantViolated, match="names `c`"):
        engine.rendered("{{ c }}", {"b": 1}, "t")
