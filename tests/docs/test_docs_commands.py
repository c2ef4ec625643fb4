"""Commands of the documents: the parsers know each, and every block says which test runs it or why none does."""

from __future__ import annotations

import re
from pathlib import Path

import command_lines
import documents
import named_things
import pytest
import stories

#: Why a block is not run, beside the story that it would need. A new reason is a change of this list.
REASONS = {
    "a cloud": "it makes machines that cost money",
    "bazel": "it is what `.ci/run` runs",
    "a build": "it installs packages or compiles, and is what `.ci/run` runs",
    "a measurement": "it takes minutes of a quiet machine; its suite's tests run it on little",
    "a release key": "whoever releases has it; `tests/build/test_release.py` makes a release with its own",
}


def not_run_by(block: documents.Block, test: str) -> list[str]:
    """What is wrong with a block that another test is said to run: no such test, or one whose file has no word of a command."""
    file, _, name = test.partition("::")
    source = documents.ROOT / file
    text = source.read_text(encoding="utf-8") if source.is_file() else ""
    # What tests share lies beside them.
    beside = (
        source.parent / f"{module}.py" for module in re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE)
    )
    text += "".join(path.read_text(encoding="utf-8") for path in beside if path.is_file())
    if not re.search(rf"^def {re.escape(name)}\(", text, re.MULTILINE):
        return [f"there is no test `{test}`"]
    named = (word for words in command_lines.of_block(block) for word in command_lines.name_of(words))
    return [f"`{file}` does not call `{word}`" for word in dict.fromkeys(named) if f'"{word}"' not in text]


@pytest.fixture(scope="module")
def every() -> list[Path]:
    found = documents.documents()
    assert len(found) > 60
    return found


def test_the_parsers_know_every_command(every: list[Path]) -> None:
    wrong, seen = [], 0
    for path in every:
        name = path.relative_to(documents.ROOT).as_posix()
        for is_whole, commands in (
            (True, command_lines.in_blocks(path)),
            (False, command_lines.in_text(path)),
        ):
            for words in commands:
                seen += 1
                if said := command_lines.problem(words, is_whole=is_whole):
                    wrong.append(f"{name}: mainspring {' '.join(words)}: {said}")
    assert wrong == [] and seen > 200


def test_targets_modules_options_files_and_tests_are_there(every: list[Path]) -> None:
    # Decisions are of their day: they are superseded, not edited.
    today = [path for path in every if path.parent.name != "adr"]
    wrong = {path.relative_to(documents.ROOT).as_posix(): named_things.problems(path) for path in today}
    assert {name: found for name, found in wrong.items() if found} == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("`make tset`", "`make tset`: no such target"),
        (
            "```bash\nmake lint && make format\ntrue; make setup tset   # make it\n```\n",
            "`make tset`: no such target",
        ),
        ("`python -m mainspring.bench kernels`", "no such suite"),
        ("`python -m mainspring.bench native --fast`", "`python -m mainspring.bench.native` has no `--fast`"),
        ("`python -m mainspring.bench platform --quick`", ""),
        ("`python -m mainspring.core.nothing`", "no such module"),
        ("`core/eror.py`", "`core/eror.py` is not there"),
        ("`tests/docs/documents.py::test_x`", "is not there"),
        ("`docs/adr/0052`, `bench/*/results/`, `core/errors.py`, `native/NOUN.py`, `tools/reference`", ""),
    ],
)
def test_what_is_not_there_is_seen(tmp_path: Path, text: str, said: str) -> None:
    document = documents.ROOT / "docs" / "nowhere.md"
    (tmp_path / "a.md").write_text(f"# a\n\n{text}\n")
    found = named_things.problems(tmp_path / "a.md", read_as=document)
    assert [said in found[0], len(found)] == [True, 1] if said else found == []


def test_settings_and_variables_are_ones(every: list[Path], tmp_path: Path) -> None:
    assert {path.name: found for path in every if (found := named_things.unknown_settings(path))} == {}
    (tmp_path / "a.md").write_text(
        "`serving.prt = 1`, `serving.port = 1`, `MAINSPRING_SERVING_PRT`, `MAINSPRING_CONFIG`\n"
    )
    found = named_things.unknown_settings(tmp_path / "a.md")
    assert found == ["`serving.prt`: no such setting", "`MAINSPRING_SERVING_PRT`: no such variable"]


def test_every_block_says_who_runs_it(every: list[Path]) -> None:
    unmarked, unknown = [], []
    for block in (b for path in every for b in documents.blocks(path)):
        kind, _, detail = block.mark.partition(": ")
        if not kind:
            unmarked.append(block.where)
        elif kind == "not run" and detail not in REASONS:
            unknown.append(f"{block.where}: no reason `{detail}`; take one of REASONS")
        elif kind == "run by":
            unknown += [f"{block.where}: {said}" for said in not_run_by(block, detail)]
        elif kind == "run" and detail and detail not in stories.STORIES:
            unknown.append(f"{block.where}: no story `{detail}`; take one of stories.STORIES")
    assert unmarked == [], (
        "put `<!-- run -->`, `<!-- run: STORY -->`, `<!-- run by: TEST -->` or `<!-- not run: REASON -->` right above"
    )
    assert unknown == []


def test_every_story_and_every_reason_has_a_block(every: list[Path]) -> None:
    marks = {b.mark for path in every for b in documents.blocks(path)}
    assert {m.partition("not run: ")[2] for m in marks if m.startswith("not run")} == set(REASONS)
    assert {m.partition("run: ")[2] for m in marks if m.startswith("run: ")} == set(stories.STORIES)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("mainspring nonsense", "No such command"),
        ("mainspring run start flight-delay --sample 1", "No such option"),
        ("mainspring run start", "wants"),
        ("mainspring run start flight-delay other", "does not take `other`"),
        ("mainspring run start flight-delay --sample-fraction 2", "0<x<=1"),
        ("mainspring completion cmd", "'bash', 'zsh', 'fish'"),
        ("mainspring project", "wants one of its commands"),
        ("timeout 5 .venv/bin/mainspring up --except serving && true", "No such option"),
    ],
)
def test_a_wrong_command_is_seen(tmp_path: Path, command: str, said: str) -> None:
    (tmp_path / "a.md").write_text(f"# a\n\n```bash\n{command}   # says: why\n```\n")
    ((words,),) = [list(command_lines.in_blocks(tmp_path / "a.md"))]
    assert said in command_lines.problem(words, is_whole=True)


def test_commands_within_text_may_leave_out_what_is_yours(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        "`mainspring cost forecast|waste`, `mainspring run start --max-cost`, `mainspring keys rotate bundles\\|payloads\n"
        "--reason ... [--overlap 1d]`, ``mainspring alert list``, `mainspring cost fly`, and `mainspring`\n"
    )
    found = list(command_lines.in_text(tmp_path / "a.md"))
    assert [words[:2] for words in found] == [
        ["cost", "forecast"], ["cost", "waste"], ["run", "start"],
        ["keys", "rotate"], ["keys", "rotate"], ["alert", "list"], ["cost", "fly"],
    ]  # fmt: skip
    said = [command_lines.problem(words, is_whole=False) for words in found]
    assert said[:6] == [""] * 6 and "No such command" in said[6]


def test_blocks_are_read_with_their_marks(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        "# a\n\n<!-- run: demo -->\n```bash\nmake demo\n```\n\n```console\n$ mainspring up\nurl\n$ true\n```\n```toml\na = 1\n```\n"
    )
    first, second = documents.blocks(tmp_path / "a.md")
    assert (first.mark, first.line, first.commands) == ("run: demo", 4, "make demo\n")
    assert (second.mark, second.commands) == ("", "mainspring up\ntrue\n")
