"""What leaves the platform in bulk passes one gate: what is in it, where it goes, why, and who asks."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from litestar.testing import TestClient
from platform_api import PROJECT, Api

from mainspring.core import canonical, errors, identity, settings
from mainspring.core.features import ops, plan, schema
from mainspring.core.models import architecture, bundle, network, signing
from mainspring.core.protection import exporting
from mainspring.platform import app as control_app
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import session, streaming
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

BUNDLE = canonical.digest({"a": 1})
PLACES = ["/srv/scores", "s3://lake/scores"]


def opened(directory: Path, places: str) -> Iterator[Api]:
    s = settings.load({"MAINSPRING_CONTROL_EXPORT_PLACES": places}, directory=directory)
    issuer = identity.ensure_token_file(s.control.tokens_file)
    app = control_app.create_app(s, issuer=issuer, launcher=launcher.MemoryLauncher())
    with TestClient(app, raise_server_exceptions=False) as client:
        api = Api(client, issuer)
        api.call("developer", "POST", "/api/v1/projects", 201, {**PROJECT, "monthly_budget": None})
        yield api


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Api]:
    yield from opened(tmp_path, ",".join(PLACES))


@pytest.fixture
def free(tmp_path: Path) -> Iterator[Api]:
    yield from opened(tmp_path, "")


def classify(api: Api, cls: str) -> None:
    column = {"name": "mail", "classification": cls, "is_pii": cls != "public"}
    entry = {"kind": "dataset", "name": "lake.people", "owner": "o", "description": "d", "columns": [column]}
    api.call("admin", "PUT", "/api/v1/catalog/flight-delay", 200, {"entries": [entry]})


def score(api: Api, expect: int = 201, role: str = "developer", output: str = "s3://partner/out", **more: str) -> Any:  # fmt: skip
    options = {"input": "/in", "output": output, **more}
    return api.run(expect, role, kind="score", bundle_digest=BUNDLE, environment="prod", score=options)


def test_what_is_not_classified_leaves_and_is_on_record_with_where_to(guarded: Api) -> None:
    classify(guarded, "public")
    score(guarded)
    (row,) = (r for r in guarded.audit() if r["action"] == "run.start" and r["outcome"] == "intended")
    asked = [d["asked"] for d in row["detail"]["authorisation"]["decisions"]]
    assert [a["action"] for a in asked] == ["run.start", "data.export"]
    assert asked[1]["context"]["destination"] == "s3://partner/out"


@pytest.mark.parametrize("cls", ["confidential", "restricted"])
def test_classified_rows_leave_by_who_may_and_for_a_purpose(guarded: Api, cls: str) -> None:
    classify(guarded, cls)
    told = score(guarded, 403, purpose="a study")
    assert (told["code"], told["details"]["rule_id"]) == ("policy_denied", "data.export.classified")
    assert "mainspring data synthesise" in told["detail"] and "mainspring access request" in told["detail"]
    score(guarded, 403, role="admin")
    score(guarded, 403, role="admin", purpose="  ")
    score(guarded, 201, role="admin", purpose="a study")
    rows = [r for r in guarded.audit() if r["action"] == "run.start"]
    assert [r["outcome"] for r in rows if r["outcome"] in ("denied", "intended")].count("denied") == 3
    (row,) = (r for r in rows if r["outcome"] == "intended")
    context = row["detail"]["authorisation"]["decisions"][1]["asked"]["context"]
    assert context == {"environment": "prod", "classification": cls, "columns": "lake.people.mail", "destination": "s3://partner/out", "purpose": "a study", "exit": "scores", "is_inside": False}  # fmt: skip
    assert row["detail"]["score"]["purpose"] == "a study"


def test_what_stays_inside_and_what_is_not_guarded_is_not_asked_about(guarded: Api) -> None:
    classify(guarded, "restricted")
    score(guarded, output="/srv/scores/may")
    score(guarded, output="s3://lake/scores/may")
    guarded.run(environment="prod")
    score(guarded, 400, output="/srv/scores/../else")


def test_by_default_a_project_s_own_folder_is_inside_and_nothing_else(free: Api, tmp_path: Path) -> None:
    classify(free, "restricted")
    state = settings.load({}, directory=tmp_path).stack.state_dir
    score(free, output=f"{state}/projects/flight-delay/scores/may")
    for elsewhere in (
        "s3://partner/out",
        f"{state}/projects/other/scores",
        f"{state}/projects",
        f"{state}/keys",
    ):
        score(free, 403, output=elsewhere)


def test_a_link_in_an_own_folder_leads_where_it_leads(free: Api, tmp_path: Path) -> None:
    classify(free, "restricted")
    own = settings.load({}, directory=tmp_path).stack.state_dir / "projects" / "flight-delay"
    own.mkdir(parents=True)
    (tmp_path / "usb").mkdir()
    (own / "usb").symlink_to(tmp_path / "usb")
    told = score(free, 403, output=f"{own}/usb/scores")
    assert told["details"]["rule_id"] == "data.export.classified"


def test_a_place_of_each_project_is_not_another_s(tmp_path: Path) -> None:
    for api in opened(tmp_path, "s3://lake/{project}/scores"):
        classify(api, "restricted")
        score(api, output="s3://lake/flight-delay/scores/may")
        score(api, 403, output="s3://lake/other/scores/may")
        score(api, 403, output="s3://lake/{project}/scores/may")


@pytest.mark.parametrize(
    "output",
    [
        "file:///srv/scores", "FILE:///srv/scores", "S3://lake/scores/a", "srv/scores", "gs://lake/scores", "s3:///scores",
        "s3://key:secret@lake/scores", "s3://key%3Asecret%40lake/scores", "s3://lake/scores?secret_key=secret",
        "s3://lake/scores?endpoint_override=key:secret@evil:9000", "s3://lake/scores/%2e%2e/x", "s3://lake/a%2F..%2Fb",
        "/srv/scores/../x",
    ],
)  # fmt: skip
def test_what_is_no_place_or_has_a_secret_in_it_is_refused_and_not_repeated(
    guarded: Api, output: str
) -> None:
    told = score(guarded, 400, role="admin", output=output, purpose="a study")
    assert (
        told["code"] == "invalid_request"
        and "secret@" not in told["detail"]
        and "=secret" not in told["detail"]
    )
    assert "secret" not in str([r for r in guarded.audit() if r["action"] == "run.start"])


@pytest.mark.parametrize(
    ("place", "is_it"),
    [
        ("/srv/scores", True), ("/srv/scores/", True), ("/srv/scores/a/b", True), ("/srv//scores/a", True),
        ("/srv/scores-else", False), ("/srv", False), ("/", False), ("/srv/scores/../x", False), ("srv/scores", False),
        ("s3://lake/scores", True), ("s3://lake/scores/a", True), ("s3://lake/scores/?", True),
        ("s3://lake/scores2", False), ("s3://lake", False), ("s3://lake2/scores", False), ("s3://lake/scores/../x", False),
        ("s3://lake/scores/%2e%2e/x", False), ("s3://lake/scores/a?endpoint_override=evil:9000", False),
        ("s3://key:secret@lake/scores/a", False), ("S3://lake/scores/a", False), ("/lake/scores", False),
    ],
)  # fmt: skip
def test_which_places_are_inside(place: str, is_it: bool) -> None:
    assert exporting.is_inside(place, PLACES) is is_it
    assert not exporting.is_inside(place, [])


PLACE = "/api/v1/projects/flight-delay/data-exports"
MAIL = {"name": "any.parquet", "columns": ["mail", "ward"]}


def leave(api: Api, expect: int = 200, role: str = "developer", **more: Any) -> Any:
    asked = {
        "environment": "prod",
        "exit": "table",
        "destination": "s3://partner/out",
        "datasets": [MAIL],
        **more,
    }
    return api.call(role, "POST", PLACE, expect, asked)


def test_a_table_that_leaves_is_asked_about_by_its_columns_whatever_it_is_called(guarded: Api) -> None:
    classify(guarded, "restricted")
    told = leave(guarded, 403)
    assert told["details"]["rule_id"] == "data.export.classified" and "`any.parquet.mail`" in told["detail"]
    leave(guarded, 403, role="admin", purpose=" ")
    digest = canonical.digest("rows")
    view = leave(guarded, role="admin", purpose="a study", digest=digest, rows=7)
    assert (view["is_inside"], view["form"], view["classification"]) == (False, "clear", "restricted")
    *denied, done = (r for r in guarded.audit() if r["action"] == "data.export")
    assert [r["outcome"] for r in denied] == ["denied"] * 2 and done["outcome"] == "done"
    on_record = {
        name: done["detail"][name] for name in ("destination", "purpose", "digest", "rows", "columns")
    }
    assert on_record == {"destination": "s3://partner/out", "purpose": "a study", "digest": digest, "rows": 7, "columns": ["any.parquet.mail"]}  # fmt: skip


def test_what_is_nobody_s_sealed_or_not_classified_leaves_by_a_developer(guarded: Api) -> None:
    classify(guarded, "restricted")
    for table in ({"is_synthetic": True}, {"sealed": ["mail"]}, {"columns": ["ward"]}):
        assert leave(guarded, datasets=[{**MAIL, **table}])["classification"] == ""
    clear = leave(guarded, 403, datasets=[{**MAIL, "sealed": ["mail"]}, {**MAIL, "name": "two"}])
    assert "`two.mail`" in clear["detail"]


def test_of_what_has_no_columns_any_of_the_project_s_may_be_in_it(guarded: Api) -> None:
    classify(guarded, "confidential")
    for door in ("bundle", "history"):
        leave(guarded, 403, exit=door, datasets=[])
        assert leave(guarded, role="approver", exit=door, datasets=[], purpose="a study")["columns"] == [
            "lake.people.mail"
        ]


def test_inside_it_does_not_leave_and_is_on_record_all_the_same(guarded: Api) -> None:
    classify(guarded, "restricted")
    assert leave(guarded, destination="/srv/scores/a")["is_inside"] is True
    leave(guarded, 401, role="", destination="/srv/scores/a")
    (row,) = (r for r in guarded.audit() if r["action"] == "data.export")
    assert row["detail"]["authorisation"]["decisions"][0]["asked"]["context"]["is_inside"] is True


def test_a_bad_question_is_refused(guarded: Api) -> None:
    for wrong in ({"destination": "file:///x"}, {"destination": "s3://key:pw@b/x"}, {"rows": -1}, {"digest": "md5:1"}, {"exit": "door"}):  # fmt: skip
        leave(guarded, 400, **wrong)
    guarded.call("developer", "POST", PLACE.replace("flight", "flihgt"), 404, {"environment": "dev", "exit": "table", "destination": "/x"})  # fmt: skip
    assert not [r for r in guarded.audit() if r["action"] == "data.export" and r["outcome"] == "done"]


@pytest.fixture
def command(guarded: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(guarded, tmp_path, monkeypatch)


class Command:
    """`mainspring` in a folder of its own, with the control API of the test."""

    def __init__(self, api: Api, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(session, "client", api.control_client)
        monkeypatch.chdir(folder)

    def __call__(self, *words: str, expect: int = 0) -> str:
        done = CliRunner().invoke(cli.cli, words)
        assert done.exit_code == expect, (done.output, done.exception)
        return done.output


def test_a_table_is_copied_out_once_it_may_and_the_record_has_its_digest(
    guarded: Api, command: Command, tmp_path: Path
) -> None:
    classify(guarded, "restricted")
    pl.DataFrame({"mail": ["ann@example.org", "bob@example.org"]}).write_parquet("people.parquet")
    out = tmp_path / "usb" / "people.parquet"
    words = ("data", "export", "flight-delay", "people.parquet", str(out))
    assert "data.export.classified" in command(*words, expect=3) and not out.parent.exists()
    command(*words, "--as", "admin@local", "--purpose", "a study", "--json")
    assert out.read_bytes() == Path("people.parquet").read_bytes()
    row = guarded.audit()[-1]["detail"]
    assert (row["digest"], row["rows"], row["destination"]) == (canonical.digest_file(out), 2, str(out))
    assert "ann@example.org" not in str(guarded.audit())
    assert "is there already" in command(*words, "--as", "admin@local", "--purpose", "again", expect=1)


def test_what_is_told_of_a_table_is_of_the_bytes_that_leave(
    guarded: Api, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classify(guarded, "restricted")
    file, read = tmp_path / "people.parquet", Path.read_bytes
    pl.DataFrame({"mail": ["ann@example.org"]}).write_parquet(file)

    def read_bytes(path: Path) -> bytes:
        found = read(path)
        if path == file:  # and by then it is another
            pl.DataFrame({"x": [1, 2]}).write_parquet(file)
        return found

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    out = str(tmp_path / "usb" / "people.parquet")
    assert "data.export.classified" in command("data", "export", "flight-delay", str(file), out, expect=3)
    pl.DataFrame({"x": [1]}).write_csv(tmp_path / "x.csv")
    command(
        "data", "export", "flight-delay", str(tmp_path / "x.csv"), str(tmp_path / "usb" / "x.csv"), "--json"
    )
    assert guarded.audit()[-1]["detail"]["rows"] == 1


def bundle_of(folder: Path, project: str) -> str:
    """Signed, in the store of the settings: a logistic regression of one number."""
    declared = plan.TransformPlan(name="demo", columns=(plan.dense("x", ops.Impute()),))
    fitted = declared.fit(pl.DataFrame({"x": [1.0, 2.0]}, schema={"x": pl.Float32}))
    spec = architecture.Architecture(dense_width=1)
    fields = (schema.Column(name="x", dtype="float32"),)
    view = schema.FeatureView(name="v", keys=(schema.Column(name="k", dtype="string"),), fields=fields)
    s = settings.load({}, directory=folder)
    key = signing.ensure_key(s.models.signing_key)
    key.publish(s.serving.trusted_keys_dir)
    contents = bundle.BundleContents(
        name="demo",
        project=project,
        plan=fitted.to_bytes(),
        model=spec.model_dump(mode="json"),
        weights=network.save_weights(network.EmbeddingMlp(spec, seed=1)),
        card="# demo\n",
        service=schema.FeatureService(name="s", views=(view,)),
        request_columns=(),
        input_columns=fitted.inputs,
        metrics={},
        data_digest=canonical.digest("data"),
        training_run_id="run_1",
        code_version="0",
    )
    return bundle.BundleStore(s.serving.bundle_dir).write(contents, key).digest


def test_a_model_of_classified_columns_leaves_for_devices_by_who_may(
    guarded: Api, command: Command, tmp_path: Path
) -> None:
    classify(guarded, "restricted")
    digest = bundle_of(tmp_path, "flight-delay")
    may = ("--as", "approver@local", "--purpose", "gates of terminal 4")
    export = ("bundle", "export", digest, "--edge", str(tmp_path / "usb"))
    assert "data.export.classified" in command(*export, expect=3) and not (tmp_path / "usb").exists()
    command(*export, *may)
    publish = (
        "bundle",
        "publish",
        str(tmp_path / "usb"),
        "--to",
        str(tmp_path / "www"),
        "--channel",
        "gates",
    )
    assert "data.export.classified" in command(*publish, expect=3) and not (tmp_path / "www").exists()
    command(*publish, *may)
    asked = [
        (r["outcome"], r["actor"], r["detail"].get("digest"))
        for r in guarded.audit()
        if r["action"] == "data.export"
    ]
    assert asked == [("denied", "developer@local", None), ("done", "approver@local", digest)] * 2


def test_a_stream_s_rows_are_kept_elsewhere_by_who_may(
    guarded: Api, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked before a broker or serving is reached: neither is there."""
    column = {"name": "flight_id", "classification": "restricted", "is_pii": True}
    view = streaming.streams_of("flight-delay")["departures"].views[0]
    column["name"] = view.keys[0]
    entry = {
        "kind": "view",
        "name": f"view.{view.name}",
        "owner": "o",
        "description": "d",
        "columns": [column],
    }
    guarded.call("admin", "PUT", "/api/v1/catalog/flight-delay", 200, {"entries": [entry]})
    monkeypatch.setenv("MAINSPRING_STREAMS_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    words = (
        "stream",
        "run",
        "flight-delay",
        "departures",
        "--until-idle",
        "--history",
        str(tmp_path / "usb"),
    )
    assert "data.export.classified" in command(*words, expect=3) and not (tmp_path / "usb").exists()
    (row,) = (r for r in guarded.audit() if r["action"] == "data.export")
    asked = row["detail"]["authorisation"]["decisions"][0]["asked"]["context"]
    assert (asked["exit"], asked["destination"], asked["is_inside"]) == (
        "history",
        str(tmp_path / "usb"),
        False,
    )
    assert f"view.{view.name}.{column['name']}" in asked["columns"]


@pytest.mark.parametrize("role", ["approver", "admin"])
def test_what_is_on_record_goes_anywhere_and_has_no_value_of_a_column(
    guarded: Api, command: Command, tmp_path: Path, role: str
) -> None:
    """The log, a pack of evidence and the ledger, after values were looked through, sealed, exported and refused."""
    classify(guarded, "restricted")
    people = [f"ann{n}.lind@hospital.example" for n in range(40)]
    pl.DataFrame({"mail": people, "ward": ["cardiology-7"] * 40}).write_parquet("people.parquet")
    command("data", "classify", "flight-delay", "lake.people", "people.parquet")
    command("data", "check", "flight-delay", "people.parquet", "--environment", "dev", expect=3)
    out = ("data", "export", "flight-delay", "people.parquet", str(tmp_path / "usb.parquet"))
    command(*out, expect=3)
    command(*out, "--as", f"{role}@local", "--purpose", "a study")
    when = ("--since", "2020-01-01", "--until", "2100-01-01", "--as", f"{role}@local")
    command("evidence", "export", "flight-delay", *when, "--out", "pack.zip")
    command("audit", "export", "--out", "log.jsonl", "--as", f"{role}@local")
    command("cost", "export", "costs.json", "--project", "flight-delay", "--as", f"{role}@local")
    with zipfile.ZipFile("pack.zip") as archive:
        left = b"".join(map(archive.read, archive.namelist()))
    assert b"data.export" in left
    left += Path("log.jsonl").read_bytes() + Path("costs.json").read_bytes()
    assert not [
        word for word in (*people, "ann0", "hospital.example", "cardiology-7") if word.encode() in left
    ]


def test_a_place_that_is_none_stops_the_start(tmp_path: Path) -> None:
    for wrong in ("scores", "/a,,/b", "gs://x/y", "/a, /b"):
        with pytest.raises(errors.InvalidSettings):
            settings.load({"MAINSPRING_CONTROL_EXPORT_PLACES": wrong}, directory=tmp_path)
