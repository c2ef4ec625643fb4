"""A project has the tags that settings ask for, and its costs keep those that they were made under."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from platform_costs import Api, serving

from mainspring.core import cost, errors, ids
from mainspring.core.client import control as control_client
from mainspring.core.contracts import control, tags
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import session
from mainspring.platform.costs import focus

#: Once over SQLite, once over PostgreSQL.
both_engines = pytest.mark.usefixtures("database_url")

NEEDED = "[cost]\nrequired_tags = 'team,cost-centre=a1|b2'\n"
WHOLE = {"team": "risk", "cost-centre": "a1"}


@both_engines
def test_a_project_is_made_and_changed_with_its_tags(tmp_path: Path) -> None:
    with serving(tmp_path, NEEDED) as api:
        refused = api.make("alpha", {"team": "risk"}, 400)
        assert refused["details"]["field"] == "tags" and "one of `a1`, `b2`" in refused["message"]
        assert api.make("alpha", {**WHOLE, "cost-centre": "c3"}, 400)["details"]["field"] == "tags"
        api.make("alpha", {"Team": "x"}, 400)
        first = api.make("alpha", WHOLE)
        assert first["tags"] == WHOLE
        assert api.change("alpha", 400, tags={"team": "risk"})["details"]["field"] == "tags"
        assert api.change("alpha", 400, tags=None)["message"].startswith("`tags` cannot be taken away")
        api.call("adm", "PATCH", "/projects/alpha", 428, {"tags": WHOLE})
        api.call("dev", "PATCH", "/projects/alpha", 403, {"tags": WHOLE}, if_match="*")
        assert api.change("alpha", 200, tags=WHOLE)["version"] == first["version"]
        changed = api.change("alpha", 200, tags={**WHOLE, "team": "fraud"})
        assert changed["tags"]["team"] == "fraud" and changed["version"] != first["version"]
        rows = api.call("adm", "GET", "/audit?action=project.update", 200)["items"]
        told = [r["detail"]["tags"] for r in rows if r["outcome"] == "done"]
        assert told == [{"from": WHOLE, "to": {**WHOLE, "team": "fraud"}}]


@pytest.mark.parametrize("how", ["refuse", "tell"])
def test_a_project_that_was_there_before_is_refused_or_told(tmp_path: Path, how: str) -> None:
    with serving(tmp_path) as api:
        api.make("alpha", {})
        api.make("beta", WHOLE)
        failed = api.call("dev", "POST", "/runs", 201, {"project": "alpha"})["run_id"]
        end = {
            "run_id": failed,
            "event_key": failed,
            "action": "run.end",
            "actor": "w",
            "detail": {"stage": "failed"},
        }
        api.call("work", "POST", f"/runs/{failed}/events", 201, end)
        assert api.call("dev", "GET", "/costs:untagged", 200)["items"] == []
    notebook = {
        "notebook_id": ids.new_id("notebook"),
        "change": "start",
        "cores": 1,
        "memory_gib": 1.0,
        "hours": 1.0,
    }
    with serving(tmp_path, f"{NEEDED}enforce_tags = '{how}'\n") as api:
        items = api.call("dev", "GET", "/costs:untagged", 200)["items"]
        assert [tags.ProjectUntagged.model_validate(one).project for one in items] == ["alpha"]
        assert set(items[0]["lacks"]) == {"team", "cost-centre"}
        if how == "refuse":
            denied = api.call("dev", "POST", "/runs", 403, {"project": "alpha"})
            assert (denied["code"], denied["details"]["rule_id"]) == ("policy_denied", "cost.required-tags")
            assert "project update alpha --tag" in denied["message"]
            for path, body in (
                (f"/runs/{failed}/resume", {}),
                ("/projects/alpha/notebooks:change", notebook),
            ):
                denied = api.call("dev", "POST", path, 403, body)
                assert denied["details"]["rule_id"] == "cost.required-tags", path
            api.call("dev", "POST", "/projects/alpha/notebooks:change", 200, {**notebook, "change": "stop"})
            assert api.change("alpha", 400, description="x")["details"]["field"] == "tags"
        else:
            begun = api.call("dev", "POST", "/runs", 201, {"project": "alpha"})
            assert "`team`: it has none" in begun["notice"]
            row = api.call("adm", "GET", "/audit?action=run.start", 200)["items"]
            assert any("notice" in r["detail"] for r in row)
            api.change("alpha", 200, description="x")
        assert api.call("dev", "POST", "/runs", 201, {"project": "beta"})["notice"] == ""
        api.change("alpha", 200, tags=WHOLE, description="y")
        assert api.call("dev", "POST", "/runs", 201, {"project": "alpha"})["notice"] == ""
        assert api.call("dev", "GET", "/costs:untagged", 200)["items"] == []


def test_pages_of_what_is_untagged_have_each_project_once(tmp_path: Path) -> None:
    with serving(tmp_path) as api:
        for i in range(7):
            api.make(f"p{i}", WHOLE if i % 3 == 0 else {})
    with serving(tmp_path, NEEDED) as api:
        found, after = [], ""
        while True:
            page = api.call("dev", "GET", f"/costs:untagged?limit=2&after={after}", 200)
            found += [one["project"] for one in page["items"]]
            if not (after := page["next"]):
                break
        assert found == ["p1", "p2", "p4", "p5"]
        api.call("dev", "GET", "/costs:untagged?project=nowhere", 404)


@both_engines
def test_another_tag_does_not_change_what_was(tmp_path: Path) -> None:
    with serving(tmp_path) as api:
        api.make("alpha", {"team": "risk"})
        api.make("beta", {})
        kept = [api.use("alpha", "a", 1.0), api.use("beta", "b", 2.0)]
        api.change("alpha", 200, tags={"team": "=fraud"})
        kept.append(api.use("alpha", "c", 4.0))
        assert [one.tags for one in kept] == [{"team": "risk"}, {}, {"team": "=fraud"}]
        assert api.use("alpha", "a", 1.0, kept[0].charge_period_start) == kept[0], (
            "told again, it is the first"
        )
        found = api.call("dev", "GET", "/costs?group_by=tag:team", 200)
        assert found["groups"] == {"risk": 0.04, "(untagged)": 0.08, "=fraud": 0.16}
        assert found["total"] == 0.28
        assert api.call("dev", "GET", "/costs?group_by=tag:none", 200)["groups"] == {"(untagged)": 0.28}
        for wrong in ("tag:", "tag:A", "tag:a'b", 'tag:a"b', "colour", "tag"):
            refused = api.call("dev", "GET", f"/costs?group_by={wrong}", 400)
            assert refused["details"]["field"] == "group_by"
        rows = {row["x_UsageKey"]: row for row in map(focus.row, api.client("dev").cost_records())}
        assert rows["a"]["Tags"] == {"team": "risk", "project": "alpha", "environment": "dev"}


@both_engines
def test_what_comes_late_is_a_correction_of_an_open_month(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    with serving(tmp_path) as api:
        api.make("alpha", {})
        late, early = api.use("alpha", "late", at=now - timedelta(days=70)), api.use("alpha", "new")
        assert early.billed_in == "" and late.billed_in in {
            now.strftime("%Y-%m"),
            (now - timedelta(days=3)).strftime("%Y-%m"),
        }
        row = focus.row(late)
        assert (row["ChargeClass"], focus.row(early)["ChargeClass"]) == ("Correction", "")
        assert row["BillingPeriodStart"].strftime("%Y-%m") == late.billed_in
        assert row["ChargePeriodStart"] == late.charge_period_start


KEYS = ("team", "cost-centre", "x.y_z-1")
PROJECTS = ("alpha", "beta", "gamma")
STEP = st.one_of(
    st.tuples(
        st.just("tag"),
        st.sampled_from(PROJECTS),
        st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["a", "b c", "='x'", 'q"$.', "ü%"])),
    ),
    st.tuples(st.just("use"), st.sampled_from(PROJECTS), st.floats(0, 1e4, allow_nan=False)),
)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path) as api:
        for name in PROJECTS:
            api.make(name, {})
        yield api


@both_engines
def test_each_tag_adds_up_to_what_was_metered(house: Api) -> None:
    used: list[control.CostView] = []

    @hypothesis.settings(
        max_examples=8, deadline=None, suppress_health_check=list(hypothesis.HealthCheck), database=None
    )
    @given(st.lists(STEP, min_size=1, max_size=12))
    def walk(steps: list[tuple[str, str, Any]]) -> None:
        for kind, project, what in steps:
            if kind == "tag":
                house.change(project, 200, tags=what)
            else:
                used.append(house.use(project, f"k{len(used)}", what))
        total = sum(cost.to_nanos(one.billed_cost) for one in used)
        for key in KEYS:
            found = house.call("dev", "GET", f"/costs?group_by=tag:{key}", 200)
            sums: dict[str, int] = {}
            for one in used:
                value = one.tags.get(key, tags.UNTAGGED)
                sums[value] = sums.get(value, 0) + cost.to_nanos(one.billed_cost)
            assert {n: cost.to_nanos(a) for n, a in found["groups"].items()} == sums
            assert sum(sums.values()) == total == cost.to_nanos(found["total"])
            assert Decimal(repr(found["total"])) == Decimal(total).scaleb(-9)

    walk()


def test_the_commands_tag_and_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path, f"{NEEDED}enforce_tags = 'tell'\n") as api:
        monkeypatch.setattr(session, "client", lambda actor: api.client("adm" if "admin" in actor else "dev"))
        monkeypatch.setattr(control_client.ControlClient, "close", lambda _self: None)

        def run(*arguments: str) -> Any:
            return CliRunner().invoke(cli.cli, arguments)

        create = ("project", "create", "alpha", "--owner", "o", "--tag", "team=risk")
        assert isinstance(run(*create).exception, errors.InvalidRequest | SystemExit)
        assert run(*create, "--tag", "cost-centre").exit_code == 2
        assert run(*create, "--tag", "cost-centre=a1", "--tag", "x=a=b").exit_code == 0
        dry = run("project", "update", "alpha", "--untag", "x", "--dry-run")
        assert dry.exit_code == 0 and api.client("dev").project("alpha").tags == {**WHOLE, "x": "a=b"}
        assert run("project", "update", "alpha", "--untag", "x", "--tag", "team=fraud").exit_code == 0
        assert api.client("dev").project("alpha").tags == {**WHOLE, "team": "fraud"}
        api.use("alpha", "k")
        assert "fraud" in run("cost", "report", "--by", "tag:team").output
        assert run("cost", "untagged", "--json").output == '{"data": [], "schema": "mainspring.cli/v1"}\n'
