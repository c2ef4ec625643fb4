"""`mainspring contracts`: schemas are written once, and an older release's are held against today's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mainspring.core.contracts import published, training
from mainspring.platform.cli.main import cli

TRAIN = f"{training.TRAIN_WORKFLOW}.json"


def contracts(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["contracts", *arguments])
    return done.exit_code, done.output


def test_an_export_is_what_is_installed_and_is_written_once(tmp_path: Path) -> None:
    folder = tmp_path / "schemas"
    code, told = contracts("export", str(folder), "--json")
    assert code == 0
    assert sorted(json.loads(told)["data"]["written"]) == sorted(
        f"{name}.json" for name in published.PROCESSES
    )
    assert json.loads((folder / TRAIN).read_text()) == published.schemas()[training.TRAIN_WORKFLOW]
    assert json.loads(contracts("export", str(folder), "--json")[1])["data"]["written"] == []
    code, told = contracts("check", str(folder), "--json")
    assert code == 0 and json.loads(told)["data"]["breaks"] == 0


def test_a_release_that_this_one_breaks_is_refused_with_every_break(tmp_path: Path) -> None:
    contracts("export", str(tmp_path))
    older = json.loads((tmp_path / TRAIN).read_text())
    older["$defs"]["TrainRequest"]["properties"]["nodes"] = {"type": "integer"}
    older["$defs"]["Stage"]["enum"].append("thinking")
    (tmp_path / TRAIN).write_text(json.dumps(older))
    (tmp_path / "mainspring.Forgotten.v1.json").write_text(json.dumps({"properties": {}, "$defs": {}}))
    code, told = contracts("check", str(tmp_path))
    assert code == 1
    for said in ("`TrainRequest`.nodes is gone", "`Stage` has no value `thinking`", "Forgotten.v1 is gone"):
        assert said in told


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "x.json` is no exported schema"),
        ("{}", "x.json` is no exported schema"),
        (None, "holds no schema"),
    ],
)
def test_what_is_no_schema_is_named(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "x.json").write_text(content)
    code, told = contracts("check", str(tmp_path))
    assert code == 1 and said in told
