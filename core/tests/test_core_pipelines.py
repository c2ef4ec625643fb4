"""Pipelines as they are written: what is built of them, what is refused when it is, and what a run here comes to."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import polars as pl
import pytest
from pipeline_files import HELPERS, NIGHTLY, done_again, node, run, write
from pydantic import ValidationError

from mainspring.core import errors, pipelines
from mainspring.core.contracts import pipelines as contracts
from mainspring.core.pipelines import PipelineStore, cache, hints, loading, run_locally, step


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # a step writes where it is
    return write(tmp_path / "code")


@pytest.fixture
def store(tmp_path: Path) -> PipelineStore:
    return PipelineStore(tmp_path / "store")


def test_what_the_package_exports() -> None:
    assert pipelines.__all__ == [
        *("LocalRun", "Pipeline", "PipelineStore", "Step", "approval", "each", "pipeline", "run_locally"),
        *("secret", "step"),
    ]


def test_a_pipeline_is_built_as_a_graph_with_its_sources(file: Path) -> None:
    pack = loading.load(file).pack(rows=5)
    assert sorted(pack.sources) == ["helpers.py", "nightly.py"]
    graph = pack.graph
    assert [n.name for n in graph.nodes] == ["load", "split", "spread", "square", "total"]
    assert graph.parameters == {"rows": 5} and graph.nodes[0].inputs["rows"].literal == 5
    assert graph.node("total").inputs["names"] == contracts.Input(node="split", path=("names",))
    square = graph.node("square")
    assert (square.each, square.function, square.resources.memory_gib) == ("x", "nightly:square", 2)
    assert graph.node("spread").is_spread and not graph.node("split").is_spread
    assert graph.after(frozenset({"square"})) == {"square", "total"}
    again = contracts.Pack.model_validate_json(pack.model_dump_json())
    assert again == pack and again.digest == pack.digest
    assert loading.load(file).pack(rows=6).digest != pack.digest


def test_it_runs_here_and_a_second_time_does_nothing(file: Path, store: PipelineStore) -> None:
    first = run(file, store)
    wanted = pl.DataFrame({"total": [sum((6 * i) ** 2 for i in range(4))], "file": ["rows.txt"]})
    assert first.answer(pl.DataFrame).equals(wanted)
    assert set(done_again(first).values()) == {"it was not done before"}
    assert first.reports["square"].items == 4
    second = run(file, store)
    assert done_again(second) == {} and second.answer(pl.DataFrame).equals(wanted)


@pytest.mark.parametrize(
    ("nightly", "helpers", "done", "why"),
    [
        (NIGHTLY, HELPERS.replace("return 1", "return 2"), [], ""),
        (NIGHTLY.replace("@step\ndef load", "# a comment\n@step(cpus=2)\ndef load"), HELPERS, [], ""),
        # The answers are the same, so what follows is not done again.
        (NIGHTLY, HELPERS.replace("2 * x", "x + x"), ["load"], "code of `helpers.py:double`"),
        (
            NIGHTLY.replace("FACTOR = 3", "FACTOR = 2 + 1"),
            HELPERS,
            ["split"],
            "code of `nightly.py:FACTOR`",
        ),
        (NIGHTLY.replace("return x * x", "return x**2"), HELPERS, ["square"], "code of `nightly.py:square`"),
        (
            NIGHTLY.replace("@step\ndef split", '@step(version="2")\ndef split'),
            HELPERS,
            ["split"],
            "its version `` -> `2`",
        ),
        (
            NIGHTLY + "\nprint('loaded')\n",
            HELPERS,
            ["load", "split", "spread", "square", "total"],
            "code of `nightly.py:(on import)`",
        ),
    ],
)
def test_only_what_changed_is_done_again_and_says_what(
    file: Path, store: PipelineStore, nightly: str, helpers: str, done: list[str], why: str
) -> None:
    run(file, store)
    write(file.parent, nightly, helpers)
    again = done_again(run(file, store))
    assert list(again) == done
    assert all(said == f"changed: {why}" for said in again.values())


def test_another_input_is_said_with_both_values(file: Path, store: PipelineStore) -> None:
    run(file, store)
    found = run(file, store, parameters={"rows": 5})
    again = done_again(found)
    assert again["load"] == "changed: input `rows` is 5, was 4"
    assert found.reports["square"].from_cache == 4, "four of the five numbers were squared before"


def test_another_environment_is_told_by_its_packages(
    file: Path, store: PipelineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainspring.core.pipelines.environment.lock", lambda: {"polars": "1", "old": "3"})
    run(file, store)
    monkeypatch.setattr("mainspring.core.pipelines.environment.lock", lambda: {"polars": "2"})
    again = done_again(run(file, store))
    assert again["load"] == "changed: environment: old 3 -> absent, polars 1 -> 2"


def test_again_from_a_step_and_without_the_cache(file: Path, store: PipelineStore) -> None:
    run(file, store)
    assert list(done_again(run(file, store, again_from=("square",)))) == ["square", "total"]
    assert len(done_again(run(file, store, use_cache=False))) == 5
    with pytest.raises(errors.NotFound, match="has no step `cube`; it has `load`"):
        run(file, store, again_from=("cube",))


def test_what_was_done_before_a_failure_stays(file: Path, store: PipelineStore) -> None:
    write(file.parent, NIGHTLY.replace("return x * x", "return 1 // 0"))
    with pytest.raises(ZeroDivisionError):
        run(file, store)
    write(file.parent)
    assert list(done_again(run(file, store))) == ["square", "total"]


def test_an_answer_that_was_removed_is_made_again_and_one_that_was_changed_is_refused(
    file: Path, store: PipelineStore
) -> None:
    first = run(file, store)
    path = store.open(first.made["load"].digest)
    path.chmod(0o644)
    path.write_text("1 2 3")
    with pytest.raises(errors.CorruptArtifact, match="remove it and run the step again"):
        run(file, store, again_from=("split",))
    path.unlink()
    assert done_again(run(file, store))["load"] == "its answer is not in the store any more"


def test_an_approval_of_a_run_here_is_asked_for(file: Path, store: PipelineStore) -> None:
    old, new = "return total(square(each(spread(parts.train))), parts.names)", "return approval(parts.train)"
    assert old in NIGHTLY
    write(file.parent, NIGHTLY.replace(old, new))
    with pytest.raises(errors.ApprovalRequired, match="`approval` waits"):
        run(file, store)
    with pytest.raises(errors.PolicyDenied, match="was rejected"):
        run(file, store, approve=lambda _: False)
    assert done_again(run(file, store, approve=lambda n: n.approval is not None)).keys() == {"approval"}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "split(load(rows))",
            "split(rows)",
            r"step `split` takes `data: Path` from another step only, and is given 4",
        ),
        (
            "each(spread(parts.train))",
            "parts.train",
            r"step `square` takes `x: int` and is given the answer of `split`, which is `list\[int\]`",
        ),
        ("square(each(spread(", "square(each(split(load(rows)) or (", "decide by it"),
        ("each(spread(parts.train))", "each(load(rows))", "which is no list but `Path`"),
        ("each(spread(parts.train))", "each(parts.train)", "is given a field"),
        ("each(spread(parts.train))", "each([1])", "`each` is given a `list`"),
        ("parts.names)", "parts.sizes)", "a `Split`, which has no field `sizes`"),
        ("load(rows))", "load(rows, 3))", r"step `load`: too many positional arguments; it is `load\(rows"),
        ("load(rows))", 'load("many"))', "`load.rows` is of type `int` and got 'many'"),
        ("def load(rows: int) -> Path", "def load(rows) -> Path", "has no type for `rows`"),
        ("def load(rows: int) -> Path", "def load(rows: int)", "has no type for `return`"),
        ("def load(rows: int)", "def load(*rows: int)", r"takes `\*` arguments"),
        ("def square(x: int) -> int", "def square(x: int) -> pl.Series", "whose values cannot travel"),
        ("@step(memory_gib=2", "@step(memory_gib=-2", "resources|memory_gib"),
        ("    parts = split", "    for one in load(rows): pass\n    parts = split", "go through it"),
        ("return total(", "return 3 or total(", "`answer`, which is no answer of a step"),
    ],
)
def test_what_does_not_fit_is_refused_when_it_is_built(file: Path, old: str, new: str, says: str) -> None:
    assert old in NIGHTLY
    write(file.parent, NIGHTLY.replace(old, new))
    with pytest.raises(errors.InvalidRequest, match=says):
        loading.load(file).pack()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("    return x * x", "    return 'x'", "`square` should be `int` and is `str`"),
        ("    return out", "    return Path('gone')", "the file `gone`, which is not there"),
        ("    return out", "    return Path('.')", "is a folder"),
        ("    return numbers", "    return list(range(501))", "has 501 items, at most 500"),
        ("    return numbers", "    return 3", r"`spread` should be `list\[int\]` and is `int`"),
        ("    return Split(", "    return dict(a=", "SyntaxError|should be `Split`|positional"),
    ],
)
def test_an_answer_that_is_not_what_the_step_says_is_refused(
    file: Path, store: PipelineStore, old: str, new: str, says: str
) -> None:
    write(file.parent, NIGHTLY.replace(old, new))
    with pytest.raises(errors.InvalidRequest, match=says):
        run(file, store)


def test_files_that_hold_no_pipeline(tmp_path: Path) -> None:
    with pytest.raises(errors.NotFound, match="no file"):
        loading.load(tmp_path / "gone.py")
    for name, text, says in (
        ("empty.py", "", "has no pipeline"),
        ("broken.py", "def", "SyntaxError"),
        ("raises.py", "1 / 0", "ZeroDivisionError"),
        ("json.py", "", "name of a module that Python has already"),
        ("a-b.py", "", "cannot be imported by its name"),
        (
            "two.py",
            "from mainspring.core.pipelines import *\n@pipeline\ndef a(): ...\n@pipeline\ndef b(): ...",
            "`a`, `b`",
        ),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises((errors.InvalidRequest, errors.NotFound), match=says):
            loading.load(tmp_path / name)


def test_nothing_is_left_beside_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    before = sorted(file.parent.rglob("*"))
    loading.load(file)
    assert sorted(file.parent.rglob("*")) == before
    assert sys.dont_write_bytecode is False, "it is as it was for everything else"


def test_two_files_with_modules_of_the_same_names_do_not_mix(tmp_path: Path, store: PipelineStore) -> None:
    first = loading.load(write(tmp_path / "one", helpers=HELPERS.replace("2 * x", "3 * x")))
    second = loading.load(write(tmp_path / "two"))
    assert (first.step("nightly:load").function.__globals__["double"](1)) == 3
    assert (second.step("nightly:load").function.__globals__["double"](1)) == 2
    assert first.pack().sources != second.pack().sources


def test_what_is_installed_stays_where_it_is(tmp_path: Path) -> None:
    """A folder may have the whole virtual environment below it, or modules that others have imported."""
    file = write(tmp_path / "code")
    (file.parent / "neighbour.py").write_text("")
    before = loading.load(file)
    sys.modules["neighbour"] = neighbour = types.ModuleType("neighbour")
    neighbour.__file__ = str(file.parent / "neighbour.py")
    try:
        loading.load(file)
        assert sys.modules["neighbour"] is neighbour
        assert sorted(before.modules) == ["helpers", "nightly"]
    finally:
        del sys.modules["neighbour"]


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "."])
def test_a_file_of_a_step_is_named_without_a_folder(name: str) -> None:
    with pytest.raises(ValidationError, match="no name of a file"):
        contracts.Value(kind=contracts.ValueKind.FILE, digest="sha256:" + "0" * 64, name=name)


def test_a_link_out_of_the_folder_is_not_packed(file: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text(HELPERS)
    (file.parent / "helpers.py").unlink()
    (file.parent / "helpers.py").symlink_to(tmp_path / "secret.py")
    with pytest.raises(errors.InvalidRequest, match="is a link out of its folder"):
        loading.load(file).pack()


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ([node("a"), node("a")], "two nodes `a`"),
        ([node("a", "b"), node("b")], "needs `b`, which does not come before it"),
        ([node("a", "a")], "needs `a`"),
    ],
)
def test_a_graph_that_goes_round_is_none(nodes: list[contracts.Node], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        contracts.PipelineGraph(name="nightly", nodes=tuple(nodes))


def test_a_pack_says_what_it_cannot_hold() -> None:
    graph = contracts.PipelineGraph(name="nightly", nodes=(node("load"),))
    contracts.Pack(sources={"nightly.py": ""}, graph=graph)
    with pytest.raises(ValidationError, match="put data into files"):
        contracts.Pack(sources={"nightly.py": "x" * (contracts.MAX_SOURCE_BYTES + 1)}, graph=graph)
    with pytest.raises(ValidationError, match="not among the sources"):
        contracts.Pack(sources={"other.py": ""}, graph=graph)
    for path in ("../nightly.py", "/nightly.py", "a//nightly.py", "nightly.sh", "a/./nightly.py", "..py"):
        with pytest.raises(ValidationError, match="no source of a pack"):
            contracts.Pack(sources={"nightly.py": "", path: ""}, graph=graph)


def test_names_that_become_paths_are_looked_at(store: PipelineStore, tmp_path: Path) -> None:
    for wrong in ("../x", "a/b", ""):
        with pytest.raises(errors.InvalidRequest):
            store.run(wrong)
        with pytest.raises(errors.InvalidRequest):
            store.pack("sha256:" + wrong)
        with pytest.raises(errors.InvalidRequest):
            PipelineStore.of(tmp_path, wrong)


@pytest.mark.parametrize(
    ("given", "wanted", "is_taken"),
    [
        (int, int, True),
        (int, float, True),
        (float, int, False),
        (int, str, False),
        (int, int | None, True),
        (int | None, int, False),
        (list[int], list[float], True),
        (list[str], list[int], False),
        (list[int], tuple[int, ...], True),
        (dict[str, int], dict[str, float], True),
        (Path, str, False),
        (pl.DataFrame, pl.DataFrame, True),
        (pl.DataFrame, Path, False),
    ],
)
def test_which_type_may_be_given_for_which(given: object, wanted: object, is_taken: bool) -> None:
    assert hints.fits(given, wanted) is is_taken


def test_a_step_without_a_cache_is_done_in_every_run_but_in_one_that_goes_on(
    file: Path, store: PipelineStore
) -> None:
    write(file.parent, NIGHTLY.replace("@step\ndef load", "@step(cache=False)\ndef load"))
    first = run(file, store)
    assert done_again(run(file, store)) == {"load": "it is declared with `cache=False`"}
    pack = loading.load(file).pack()
    made = cache.basis(store, pack, pack.graph.node("load")).of({})
    found = cache.find(store, made, place="nightly/load", is_cached=False, resume_of=first.run_id)
    assert (found.value, found.from_run) == (first.made["load"], first.run_id)
    other = cache.find(store, made, place="nightly/load", is_cached=False, resume_of="run_other")
    assert other.value is None


SECRETIVE = """
from mainspring.core.pipelines import pipeline, secret, step

@step(secrets=("warehouse",))
def reads(x: int) -> int:
    return len(secret("warehouse"))

@step
def does_not(x: int) -> int:
    return len(secret("warehouse"))

@pipeline
def honest() -> int:
    return reads(1)

@pipeline
def curious() -> int:
    return does_not(1)
"""


def test_a_step_reads_the_secrets_that_it_was_declared_with_and_no_others(
    tmp_path: Path, store: PipelineStore
) -> None:
    file = tmp_path / "secretive.py"
    file.write_text(SECRETIVE)
    given = {"warehouse": "hunter22"}
    honest = loading.load(file, "honest")
    assert honest.pack().graph.nodes[0].secrets == ("warehouse",)
    assert run_locally(honest, store, secrets=given).answer(int) == 8
    with pytest.raises(errors.NotFound, match="was given no secret `warehouse`"):
        run_locally(loading.load(file, "curious"), store, secrets=given)
    with pytest.raises(errors.NotFound, match="was given no secret"):
        run_locally(honest, store, use_cache=False)


@pytest.mark.parametrize("name", ["No Slug", "", "a/b", "../x"])
def test_what_is_no_name_of_a_secret_is_refused(name: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        step(secrets=(name,))
