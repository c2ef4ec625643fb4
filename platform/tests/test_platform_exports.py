"""What leaves the platform in bulk passes one gate: what is in it, where it goes, why, and who asks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient
from platform_api import PROJECT, Api

from mainspring.core import canonical, errors, identity, settings
from mainspring.core.protection import exporting
from mainspring.platform import app as control_app
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
    assert context == {"environment": "prod", "classification": cls, "columns": "lake.people.mail", "destination": "s3://partner/out", "purpose": "a study"}  # fmt: skip
    assert row["detail"]["score"]["purpose"] == "a study"


def test_what_stays_inside_and_what_is_not_guarded_is_not_asked_about(guarded: Api) -> None:
    classify(guarded, "restricted")
    score(guarded, output="/srv/scores/may")
    score(guarded, output="s3://lake/scores/may")
    guarded.run(environment="prod")
    score(guarded, 403, output="/srv/scores/../else")


def test_by_default_every_place_is_inside(free: Api) -> None:
    classify(free, "restricted")
    score(free)


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


def test_a_place_that_is_none_stops_the_start(tmp_path: Path) -> None:
    for wrong in ("scores", "/a,,/b", "gs://x/y", "/a, /b"):
        with pytest.raises(errors.InvalidSettings):
            settings.load({"MAINSPRING_CONTROL_EXPORT_PLACES": wrong}, directory=tmp_path)
