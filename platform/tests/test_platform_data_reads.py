"""Environments that read rows of nobody or sealed columns: asked of the policies, denied with what to do, and on record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from litestar.testing import TestClient
from platform_api import Api

from mainspring.core import errors, identity, settings
from mainspring.core.contracts import masking as mask_contracts
from mainspring.core.protection import keysets, masking, sealing
from mainspring.core.synthetic import marks
from mainspring.platform import app as control_app
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import session
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

PLACE = "/api/v1/projects/hospital"
PEOPLE = {"name": "lake.people", "version": "sha256:1", "columns": ["mail", "ward"]}
ENTRY = {
    "kind": "dataset",
    "name": "lake.people",
    "owner": "care",
    "description": "Who came in",
    "columns": [
        {"name": "mail", "classification": "confidential", "is_pii": True},
        {"name": "ward", "classification": "public"},
    ],
}


def started(tmp_path: Path, **said: str) -> Iterator[Api]:
    s = settings.load(said, directory=tmp_path)
    issuer = identity.ensure_token_file(s.control.tokens_file)
    app = control_app.create_app(s, issuer=issuer, launcher=launcher.MemoryLauncher())
    with TestClient(app, raise_server_exceptions=False) as client:
        made = Api(client, issuer)
        made.call("developer", "POST", "/api/v1/projects", 201, {"name": "hospital", "owner": "o"})
        made.call("service", "PUT", "/v1/catalog/hospital", 200, {"entries": [ENTRY]})
        yield made


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    yield from started(tmp_path)


def read(api: Api, expect: int = 200, role: str = "service", where: str = "dev", run: str = "", **changed: Any) -> Any:  # fmt: skip
    asked = {"environment": where, "run_id": run, "datasets": [{**PEOPLE, **changed}]}
    return api.call(role, "POST", f"{PLACE}/data-reads", expect, asked)


def log(api: Api) -> list[dict[str, Any]]:
    return [row for row in api.audit() if row["action"] == "data.use"]


def test_a_classified_column_is_not_read_as_it_is_in_dev(api: Api) -> None:
    told = read(api, 403)
    assert (told["code"], told["details"]["rule_id"]) == ("policy_denied", "data.use.synthetic-only")
    for word in ("`mainspring data synthesise`", "`mainspring data seal`", "`lake.people.mail` in `dev`"):
        assert word in told["detail"]
    (row,) = log(api)
    assert (row["outcome"], row["resource"]) == ("denied", "data-read/hospital")
    (decision,) = row["detail"]["authorisation"]["decisions"]
    context = decision["asked"]["context"]
    assert (context["form"], context["columns"], context["is_synthetic_only"]) == (
        "clear",
        "lake.people.mail",
        True,
    )


@pytest.mark.parametrize(
    ("changed", "form"),
    [
        ({"is_synthetic": True}, "synthetic"),
        ({"sealed": ["mail"]}, "sealed"),
        ({"columns": ["ward"]}, "open"),
        ({"where": "prod"}, "clear"),
        ({"where": "staging"}, "clear"),
    ],
)
def test_what_may_be_read_is_on_record_with_its_version(api: Api, changed: dict[str, Any], form: str) -> None:
    told = read(api, **changed)
    assert told["form"] == form and told["columns"] == ([] if form == "open" else ["lake.people.mail"])
    (row,) = log(api)
    assert row["outcome"] == "done" and row["detail"]["form"] == form
    assert row["detail"]["datasets"] == [
        {"name": "lake.people", "version": "sha256:1", "is_synthetic": form == "synthetic"}
    ]


def test_a_run_s_read_is_on_record_once_and_another_s_anew(api: Api) -> None:
    for run in ("run_1", "run_1", "run_2"):
        read(api, run=run, is_synthetic=True)
    read(api, run="run_1", is_synthetic=True, version="sha256:2")
    assert [row["detail"]["run_id"] for row in log(api)] == ["run_1", "run_2", "run_1"]


def test_what_a_person_or_a_detector_said_counts_as_much(api: Api) -> None:
    columns = ["phone", "card"]
    assert read(api, name="lake.calls", columns=columns)["form"] == "open"
    findings = [
        {"column": c, "kind": k, "classification": cls, "confidence": 0.9}
        for c, k, cls in (("phone", "phone", "confidential"), ("card", "card_number", "restricted"))
    ]
    found = {"entry": "lake.calls", "findings": findings}
    api.call("service", "POST", f"{PLACE}/classifications", 200, found)
    assert (
        "`lake.calls.card`, `lake.calls.phone`"
        in read(api, 403, name="lake.calls", columns=columns)["detail"]
    )
    for column, confirm in (("phone", True), ("card", False)):
        said = {"entry": "lake.calls", "column": column, "confirm": confirm, "reason": "r"}
        api.call("approver", "POST", f"{PLACE}/classifications:decide", 200, said)
    told = read(api, 403, name="lake.calls", columns=columns)["detail"]
    assert "lake.calls.phone" in told and "lake.calls.card" not in told
    # A table that no catalog has is told by its columns' names.
    assert read(api, name="x.parquet", columns=["phone"])["form"] == "open"
    assert (
        "x.parquet.phone"
        in read(api, 403, name="x.parquet", columns=["phone"], is_uncatalogued=True)["detail"]
    )


def test_who_may_not_and_what_makes_no_sense(api: Api) -> None:
    read(api, 403, role="approver", is_synthetic=True)
    read(api, 401, role="")
    read(api, 400, sealed=["nosuch"])
    read(api, 400, columns="mail")
    api.call("service", "POST", f"{PLACE}/data-reads", 400, {"environment": "dev", "datasets": []})
    api.call("service", "POST", "/api/v1/projects/hopsital/data-reads", 404, {"environment": "dev", "datasets": [PEOPLE]})  # fmt: skip
    assert [row["outcome"] for row in log(api)] == ["denied"]


@pytest.mark.parametrize(
    ("only", "dev", "prod"), [("", 200, 200), ("dev,prod", 403, 403), ("prod", 200, 403)]
)
def test_which_environments_do_so_is_a_setting(tmp_path: Path, only: str, dev: int, prod: int) -> None:
    for made in started(tmp_path, MAINSPRING_CONTROL_SYNTHETIC_ONLY=only):
        read(made, dev)
        read(made, prod, where="prod")


@pytest.mark.parametrize("only", ["moon", "dev,", "dev prod"])
def test_an_environment_that_there_is_not_is_no_setting(tmp_path: Path, only: str) -> None:
    with pytest.raises(errors.InvalidSettings, match="synthetic_only"):
        settings.load({"MAINSPRING_CONTROL_SYNTHETIC_ONLY": only}, directory=tmp_path)


def test_serving_of_such_an_environment_shows_nothing_as_it_is(api: Api) -> None:
    view = {**ENTRY, "kind": "view", "name": "view.people"}
    api.call("service", "PUT", "/v1/catalog/hospital", 200, {"entries": [view]})

    def forms(**asked: str) -> set[str]:
        told = api.call("approver", "GET", f"{PLACE}/masking", 200, purpose="prediction", **asked)
        section = mask_contracts.MaskingSection.model_validate(told)
        rules = masking.Rules(mask_contracts.MaskingDocument(version=1, sections=[section]))
        seen = (rules.forms("people", ["mail"], [role], "prediction") for role in ("service", "developer"))
        # What is not masked at all is seen as it is.
        return {found["mail"][0] if found else "clear" for found in seen}

    assert forms() == forms(environment="prod") == {"clear", "partial"}
    assert forms(environment="dev") == {"partial"}
    told = api.call("approver", "GET", f"{PLACE}/masking", 400, environment="moon")
    assert "use one of `dev`, `staging`, `prod`" in told["detail"]


def test_the_command_line_says_whether_a_file_may_be_read(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "client", api.control_client)

    def run(file: Path, *words: str, expect: int = 0) -> str:
        asked = ["data", "check", "hospital", str(file), "--environment", "dev", *words]
        done = CliRunner().invoke(cli.cli, asked)
        assert done.exit_code == expect, (done.output, done.exception)
        return done.output

    rows = pl.DataFrame({"mail": ["ann@example.org"], "ward": ["x"]})
    real, made, sealed = (tmp_path / f"{name}.parquet" for name in ("real", "made", "sealed"))
    rows.write_parquet(real)
    table = rows.to_arrow()
    pq.write_table(table.cast(marks.mark(table.schema, "sha256:1")), made)
    cipher = keysets.keyset(settings.load({}, directory=tmp_path).protection, "hospital").cipher()
    rows.with_columns(cipher.seal(rows["mail"], sealing.Field("lake.people", "mail"))).write_parquet(sealed)
    assert "data synthesise" in run(real, "--entry", "lake.people", expect=3)
    assert "real.parquet.mail" in run(real, expect=3)
    assert "synthetic" in run(made, "--entry", "lake.people")
    assert '"form": "sealed"' in run(sealed, "--entry", "lake.people", "--json")
    assert "ann@example.org" not in str(api.audit())
